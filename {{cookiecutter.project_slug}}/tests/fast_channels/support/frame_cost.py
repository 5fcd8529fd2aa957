"""What typed frames cost beside plain dictionaries: ``python -m tests.fast_channels.support.frame_cost``.

Microseconds of CPU of whole consumers without a server, each on its own channel of a layer in memory:
the best of some rounds, typed and plain in turn.
"""

import asyncio
import gc
import json
import time
from collections.abc import Callable, Coroutine
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
    """Open sockets of one consumer class: what they receive, and how much they have sent."""

    def __init__(self, consumer: type[AsyncWebsocketConsumer], count: int) -> None:
        self.incoming: list[asyncio.Queue[dict[str, Any]]] = [asyncio.Queue() for _ in range(count)]
        self.sent = 0
        self.changed = asyncio.Event()
        self.tasks = [
            asyncio.create_task(consumer()({"type": "websocket"}, queue.get, self.send))
            for queue in self.incoming
        ]

    async def send(self, event: Any) -> None:
        self.sent += 1
        self.changed.set()

    async def until(self, number: int) -> None:
        while self.sent < number:
            self.changed.clear()
            await self.changed.wait()

    async def __aenter__(self) -> "Sockets":
        for queue in self.incoming:
            queue.put_nowait({"type": "websocket.connect"})
        await self.until(len(self.tasks))
        self.sent = 0
        return self

    async def __aexit__(self, *error: object) -> None:
        for queue in self.incoming:
            queue.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await asyncio.gather(*self.tasks)


async def answers(consumer: type[AsyncWebsocketConsumer], count: int) -> None:
    """Each of `count` frames in one socket is answered."""
    async with Sockets(consumer, 1) as sockets:
        (queue,) = sockets.incoming
        for number in range(count):
            text = json.dumps({"type": "say", "id": f"m{number}", "text": f"{TEXT} {number}"})
            queue.put_nowait({"type": "websocket.receive", "text": text})
            await sockets.until(number + 1)


async def group(consumer: type[AsyncWebsocketConsumer], count: int) -> None:
    """Each of `count` messages reaches the sockets of all members."""
    layer = channel_layers["default"]
    async with Sockets(consumer, MEMBERS) as sockets:
        for number in range(count):
            said = Said(name="Ann", text=f"{TEXT} {number}", at=1.5)
            plain = {"type": "told", "frame": said.__dict__}
            await layer.group_send("room", frame_message(said) if consumer is Typed else plain)
            await sockets.until(MEMBERS * (number + 1))


Work = Callable[[type[AsyncWebsocketConsumer], int], Coroutine[Any, Any, None]]


def cost(work: Work, count: int, rounds: int) -> dict[str, float]:
    """Consumer -> microseconds of CPU for each of `count`."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for consumer in (Typed, Plain):
            register_channel_layer("default", InMemoryChannelLayer())
            gc.collect()
            started = time.process_time()
            asyncio.run(work(consumer, count))
            taken = (time.process_time() - started) / count * 1e6
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
