"""What typed frames cost beside plain dictionaries: ``python -m tests.fast_channels.support.frame_cost``.

Microseconds of CPU of whole consumers without a server, each on its own channel of a layer in memory:
the best of some rounds, typed and plain in turn.
"""

import asyncio
import gc
import json
import time
from collections.abc import Callable, Coroutine
from itertools import count, islice
from typing import Any, Literal

from pydantic import BaseModel

from fast_channels.consumer import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from fast_channels.frames import Frame, FrameConsumer, frame_message, handles
from fast_channels.layers import (
    InMemoryChannelLayer,
    channel_layers,
    register_channel_layer,
    unregister_channel_layer,
)

MEMBERS = 100
TEXT = "Hello everybody, this is what most messages look like."


class Say(Frame):
    type: Literal["say"] = "say"
    text: str


class Said(BaseModel):
    type: Literal["said"] = "said"
    name: str
    text: str
    at: float


class Typed(FrameConsumer):
    groups = ("room",)
    incoming = Say
    outgoing = Said

    @handles
    async def say(self, frame: Say) -> Said:
        return Said(name="Ann", text=frame.text, at=1.5)


class Plain(AsyncJsonWebsocketConsumer):
    groups = ("room",)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        said = {"type": "said", "name": "Ann", "text": content["text"], "at": 1.5}
        await self.send_json(said | {"reply_to": content["id"]})

    async def told(self, message: dict[str, Any]) -> None:
        await self.send_json(message["frame"])


class Sockets:
    """Open sockets of one consumer class, of which the sent events are counted."""

    def __init__(self, consumer: type[AsyncWebsocketConsumer], number: int) -> None:
        self.typed = consumer is Typed
        self.incoming: list[asyncio.Queue[dict[str, Any]]] = [
            asyncio.Queue() for _ in range(number)
        ]
        self.numbers = count()
        self.awaited = 0
        self.complete = asyncio.Event()
        self.tasks = [
            asyncio.create_task(consumer()({"type": "websocket"}, queue.get, self.sent))
            for queue in self.incoming
        ]

    async def sent(self, event: Any) -> None:
        self.awaited -= 1
        if self.awaited == 0:
            self.complete.set()

    def expect(self, events: int) -> None:
        self.awaited = events
        self.complete.clear()

    async def __aenter__(self) -> "Sockets":
        self.expect(len(self.incoming))
        for queue in self.incoming:
            queue.put_nowait({"type": "websocket.connect"})
        await self.complete.wait()
        return self

    async def __aexit__(self, *error: object) -> None:
        for queue in self.incoming:
            queue.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await asyncio.gather(*self.tasks)

    async def ask(self, frames: int) -> None:
        """Frames of one client, each after the answer to the one before."""
        (queue,) = self.incoming
        for number in islice(self.numbers, frames):
            self.expect(1)
            text = json.dumps({"type": "say", "id": f"m{number}", "text": f"{TEXT} {number}"})
            queue.put_nowait({"type": "websocket.receive", "text": text})
            await self.complete.wait()

    async def tell(self, frames: int) -> None:
        """Frames to the group, each after all members have sent the one before."""
        layer = channel_layers["default"]
        for number in islice(self.numbers, frames):
            said = Said(name="Ann", text=f"{TEXT} {number}", at=1.5)
            self.expect(len(self.incoming))
            plain = {"type": "told", "frame": dict(said)}
            await layer.group_send("room", frame_message(said) if self.typed else plain)
            await self.complete.wait()


async def answers(consumer: type[AsyncWebsocketConsumer], frames: int) -> None:
    async with Sockets(consumer, 1) as sockets:
        await sockets.ask(frames)


async def group(consumer: type[AsyncWebsocketConsumer], frames: int) -> None:
    async with Sockets(consumer, MEMBERS) as sockets:
        await sockets.tell(frames)


Work = Callable[[type[AsyncWebsocketConsumer], int], Coroutine[Any, Any, None]]


def cost(work: Work, frames: int, rounds: int) -> dict[str, float]:
    """Consumer -> microseconds of CPU for each of `frames`."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for consumer in (Typed, Plain):
            register_channel_layer("default", InMemoryChannelLayer())
            gc.collect()
            started = time.process_time()
            asyncio.run(work(consumer, frames))
            taken = (time.process_time() - started) / frames * 1e6
            best[consumer.__name__] = min(taken, best.get(consumer.__name__, taken))
            unregister_channel_layer("default")
    return best


def main(answered: int = 5_000, told: int = 300, rounds: int = 5) -> dict[str, dict[str, float]]:
    found = {
        "a frame in, its answer out": cost(answers, answered, rounds),
        f"a group's frame to {MEMBERS} members": cost(group, told, rounds),
    }
    for what, costs in found.items():
        print(f"{what:35}" + "".join(f"{name} {taken:8.1f} us   " for name, taken in costs.items()))
    return found


if __name__ == "__main__":
    main()
