"""The channel layers: ours, that of fast-channels and those of Django Channels, made alike."""

import asyncio
from collections.abc import Awaitable, Iterable
from importlib import import_module
from typing import Any, Protocol

LAYERS = ("candidate", "fast_channels", "channels_redis")


class Layer(Protocol):
    """The part of the channel layer interface that is measured."""

    async def new_channel(self) -> str: ...
    async def send(self, channel: str, message: dict[str, Any]) -> None: ...
    async def receive(self, channel: str) -> dict[str, Any]: ...
    async def group_add(self, group: str, channel: str) -> None: ...
    async def group_send(self, group: str, message: dict[str, Any]) -> None: ...


def make_layer(subject: str, kind: str, url: str, **arguments: Any) -> Layer:
    """A layer with default settings but for `arguments`, and for the time-out of the peers' queue.

    redis-py 8 gives up a read after 5 s unless it is told otherwise. The peers' queue layers wait in
    blocking pops that may take longer, and die of it.
    """
    layer: Layer
    package = "channels" if subject == "channels_redis" else "fast_channels"
    if kind == "memory":
        layer = import_module(f"{package}.layers").InMemoryChannelLayer(**arguments)
        return layer
    redis = "channels_redis" if subject == "channels_redis" else "fast_channels.layers.redis"
    if kind == "pubsub":
        pubsub = import_module(f"{redis}.pubsub")
        layer = pubsub.RedisPubSubChannelLayer(hosts=[url], **arguments)
        return layer
    host: Any = url if subject == "candidate" else {"address": url, "socket_timeout": None}
    layer = import_module(f"{redis}.core").RedisChannelLayer(hosts=[host], **arguments)
    return layer


async def all_of(kind: str, sends: Iterable[Awaitable[object]]) -> None:
    """All under way at once; in memory one after the other, as there none waits for anything.

    A task for each would take more there than the send itself.
    """
    if kind == "memory":
        for send in sends:
            await send
    else:
        await asyncio.gather(*sends)
