"""broadcaster under Starlette, in the shape that its README shows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broadcaster import Broadcast
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from . import order

URLS = {
    "pubsub": order.REDIS,
    "queue": order.REDIS.replace("redis://", "redis-stream://", 1),
}
broadcast = Broadcast(URLS.get(order.KIND, "memory://"))


async def room(websocket: WebSocket) -> None:
    name = websocket.path_params["name"]
    await websocket.accept()
    sender = asyncio.create_task(send_on(websocket, name))
    try:
        while True:
            await broadcast.publish(channel=name, message=await websocket.receive_text())
    except WebSocketDisconnect:
        pass
    finally:
        sender.cancel()


async def send_on(websocket: WebSocket, name: str) -> None:
    async with broadcast.subscribe(channel=name) as subscriber:
        await websocket.send_text('"joined"')
        while True:
            await websocket.send_text((await subscriber.get()).message)


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        return


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    # With redis-py 8 the listener may look for a subscription just before the first one is made, and
    # then sleeps until the next one of another channel: two that stay open from the start wake it.
    async with broadcast, broadcast.subscribe("first"), broadcast.subscribe("second"):
        yield


app = Starlette(
    routes=[WebSocketRoute("/room/{name}", room), WebSocketRoute("/echo", echo)],
    lifespan=lifespan,
)
