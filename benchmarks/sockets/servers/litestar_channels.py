"""Litestar's ChannelsPlugin: a subscription per socket, served by its own background task."""

from typing import Any

from litestar import Litestar, WebSocket, websocket
from litestar.channels import ChannelsPlugin
from litestar.channels.backends.base import ChannelsBackend
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.channels.backends.redis import (
    RedisChannelsPubSubBackend,
    RedisChannelsStreamBackend,
)
from litestar.exceptions import WebSocketDisconnect
from redis.asyncio import Redis

from . import order


def make_backend() -> ChannelsBackend:
    if order.KIND == "pubsub":
        return RedisChannelsPubSubBackend(redis=Redis.from_url(order.REDIS))
    if order.KIND == "queue":
        return RedisChannelsStreamBackend(redis=Redis.from_url(order.REDIS), history=100)
    return MemoryChannelsBackend()


# arbitrary_channels_allowed: rooms come into being as they are joined, as in every other subject.
plugin = ChannelsPlugin(make_backend(), arbitrary_channels_allowed=True)


@websocket("/room/{name:str}")
async def room(socket: WebSocket[Any, Any, Any], name: str, channels: ChannelsPlugin) -> None:
    await socket.accept()
    async with (
        channels.start_subscription(name) as subscriber,
        subscriber.run_in_background(socket.send_text),
    ):
        await socket.send_text('"joined"')
        try:
            while True:
                await channels.wait_published(await socket.receive_text(), name)
        except WebSocketDisconnect:
            return


@websocket("/echo")
async def echo(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        return


app = Litestar(route_handlers=[room, echo], plugins=[plugin])
