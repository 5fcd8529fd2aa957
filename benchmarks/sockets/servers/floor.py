"""The floor: a bare ASGI callable, a set of sends per room, callbacks from Redis. No guarantees.

queue: a message is appended to a stream and published, both in one write; what is delivered comes
from the publication, so that this is the price of storing a message and no more.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from . import order
from .resp import Resp, connect, pack

Send = Callable[[dict[str, Any]], Awaitable[None]]

rooms: defaultdict[str, set[Send]] = defaultdict(set)
arrived: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
commands: Resp | None = None
running: list[Any] = []  # what must outlive start(): the subscriber and its task


async def deliver(room: str, text: str) -> None:
    event = {"type": "websocket.send", "text": text}
    for send in list(rooms[room]):
        await send(event)


async def deliver_arrived() -> None:
    while True:
        await deliver(*await arrived.get())


def on_push(reply: list[bytes]) -> None:
    if reply[0] == b"pmessage":
        arrived.put_nowait((reply[2].decode(), reply[3].decode()))


async def start() -> None:
    global commands
    subscriber = await connect(order.REDIS, on_push)
    subscriber.transport.write(pack(b"PSUBSCRIBE", b"*"))
    commands = await connect(order.REDIS, on_push)
    running.extend([subscriber, asyncio.create_task(deliver_arrived())])


async def publish(room: str, text: str) -> None:
    if commands is None:
        await deliver(room, text)
        return
    name, body = room.encode(), text.encode()
    published = pack(b"PUBLISH", name, body)
    if order.KIND == "queue":
        stream = b"stream:" + name
        kept = pack(b"XADD", stream, b"MAXLEN", b"~", b"100", b"*", b"m", body)
        commands.execute(kept, published)
    else:
        commands.execute(published)


async def serve_room(room: str, receive: Any, send: Send) -> None:
    rooms[room].add(send)
    await send({"type": "websocket.send", "text": '"joined"'})
    while (event := await receive())["type"] == "websocket.receive":
        await publish(room, event["text"])
    rooms[room].discard(send)


async def serve_echo(receive: Any, send: Send) -> None:
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})


async def lifespan(receive: Any, send: Send) -> None:
    await receive()
    if order.KIND in ("pubsub", "queue"):
        await start()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def app(scope: Any, receive: Any, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    if scope["path"] == "/echo":
        await serve_echo(receive, send)
    else:
        await serve_room(scope["path"].rpartition("/")[2], receive, send)
