"""Child: sockets of one consumer, typed or plain, that answer frames or pass on those of their group."""

import asyncio
import json
from itertools import count
from typing import Any, Literal

from pydantic import BaseModel

from fast_channels.consumer import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from fast_channels.frames import Frame, FrameConsumer, frame_message, handles
from fast_channels.layers import register_channel_layer

from ..child import Clock, Options, listen, main, say
from .layers import make_layer

TEXT = "Hello everybody, this is what most messages look like."
WINDOW = 20  # frames between two looks at the clock


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


async def work(options: Options) -> None:
    layer: Any = make_layer(options["subject"], options["kind"], options["url"])
    register_channel_layer("default", layer)
    consumer = Typed if options["typed"] else Plain
    members = options["members"]
    sockets = Sockets(consumer, members or 1)
    await sockets.open()
    exchange = sockets.tell if members else sockets.ask
    await exchange(layer)
    say(ready=True)
    listen()
    operations = 0
    clock = Clock()
    while not operations or clock.wall < options["seconds"]:
        await exchange(layer)
        operations += WINDOW
    say(operations=operations, **clock.stop())


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

    async def open(self) -> None:
        self.expect(len(self.incoming))
        for queue in self.incoming:
            queue.put_nowait({"type": "websocket.connect"})
        await self.complete.wait()

    async def ask(self, layer: Any) -> None:
        """Frames of one client, each after the answer to the one before."""
        (queue,) = self.incoming
        for _ in range(WINDOW):
            number = next(self.numbers)
            self.expect(1)
            text = json.dumps({"type": "say", "id": f"m{number}", "text": f"{TEXT} {number}"})
            queue.put_nowait({"type": "websocket.receive", "text": text})
            await self.complete.wait()

    async def tell(self, layer: Any) -> None:
        """Frames to the group, each after all members have sent the one before."""
        for _ in range(WINDOW):
            said = Said(name="Ann", text=f"{TEXT} {next(self.numbers)}", at=1.5)
            self.expect(len(self.incoming))
            message = frame_message(said) if self.typed else plain_message(said)
            await layer.group_send("room", message)
            await self.complete.wait()


def plain_message(said: Said) -> dict[str, Any]:
    return {"type": "told", "frame": dict(said)}


if __name__ == "__main__":
    main(work)
