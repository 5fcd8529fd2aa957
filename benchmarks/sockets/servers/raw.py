"""What one writes by hand: Starlette, a set of sockets per room, redis-py with one subscriber task.

It promises little: a socket that does not read holds up all others, for each is sent to in turn.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from . import order

PATTERN = "room:*"
rooms: defaultdict[str, set[WebSocket]] = defaultdict(set)
redis = Redis.from_url(order.REDIS, decode_responses=True) if order.KIND == "pubsub" else None


async def deliver(room: str, text: str) -> None:
    for websocket in list(rooms[room]):
        await websocket.send_text(text)


async def publish(room: str, text: str) -> None:
    if redis is None:
        await deliver(room, text)
    else:
        await redis.publish(f"room:{room}", text)


async def subscribe(client: Redis) -> None:
    async with client.pubsub() as pubsub:
        await pubsub.psubscribe(PATTERN)
        async for message in pubsub.listen():
            if message["type"] == "pmessage":
                await deliver(message["channel"].removeprefix("room:"), message["data"])


async def room(websocket: WebSocket) -> None:
    name = websocket.path_params["name"]
    await websocket.accept()
    rooms[name].add(websocket)
    await websocket.send_text('"joined"')
    try:
        while True:
            await publish(name, await websocket.receive_text())
    except WebSocketDisconnect:
        pass
    finally:
        rooms[name].discard(websocket)


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        return


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    if redis is None:
        yield
        return
    subscriber = asyncio.create_task(subscribe(redis))
    yield
    subscriber.cancel()
    await redis.aclose()


app = Starlette(
    routes=[WebSocketRoute("/room/{name}", room), WebSocketRoute("/echo", echo)],
    lifespan=lifespan,
)
