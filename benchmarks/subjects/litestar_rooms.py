"""Litestar's ChannelsPlugin without a server: memory, Redis pub/sub, Redis streams."""

from typing import Any

from litestar.channels import ChannelsPlugin
from litestar.channels.backends.memory import MemoryChannelsBackend
from litestar.channels.backends.redis import (
    RedisChannelsPubSubBackend,
    RedisChannelsStreamBackend,
)
from redis.asyncio import Redis

from .broadcasters import TextRooms
from .rooms import Message, Receive

HISTORY = 1000  # entries of a stream; the argument has no default


class LitestarRooms(TextRooms):
    async def open(self) -> None:
        backend: Any = MemoryChannelsBackend()
        if self.kind == "pubsub":
            backend = RedisChannelsPubSubBackend(redis=Redis.from_url(self.url))
        elif self.kind == "queue":
            backend = RedisChannelsStreamBackend(history=HISTORY, redis=Redis.from_url(self.url))
        self._channels = ChannelsPlugin(backend, arbitrary_channels_allowed=True)
        await self._channels.__aenter__()
        self._joined: set[str] = set()

    async def join(self, group: str) -> Receive:
        subscriber = await self._channels.subscribe(group)
        receive = subscriber.iter_events().__anext__
        if group not in self._joined:
            self._joined.add(group)
            await self.heard(group, receive)
        return receive

    async def publish(self, group: str, message: Message) -> None:
        await self._channels.wait_published(message, group)

    def encode(self, message: Message) -> Any:
        return self._channels.encode_data(message)
