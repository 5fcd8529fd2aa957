"""broadcaster, without a server: memory, Redis pub/sub, Redis streams."""

import json
from collections.abc import Hashable
from contextlib import AsyncExitStack
from typing import Any

from broadcaster import Broadcast

from .broadcasters import TextRooms
from .rooms import Message, Receive


class BroadcasterRooms(TextRooms):
    async def open(self) -> None:
        urls = {
            "memory": "memory://",
            "pubsub": self.url,
            "queue": self.url.replace("redis://", "redis-stream://"),
        }
        self._broadcast = Broadcast(urls[self.kind])
        await self._broadcast.connect()
        self._subscriptions = AsyncExitStack()
        # With redis-py 8 the first subscription of version 0.3.1 is never listened to: its listener
        # looks before the subscription is made, and wakes up again with the next one.
        await self._subscriptions.enter_async_context(self._broadcast.subscribe("unused"))
        self._joined: set[str] = set()

    async def join(self, group: str) -> Receive:
        subscription = self._broadcast.subscribe(group)
        subscriber = await self._subscriptions.enter_async_context(subscription)
        if group not in self._joined:
            self._joined.add(group)
            await self.heard(group, subscriber.get)
        return subscriber.get

    async def publish(self, group: str, message: Message) -> None:
        await self._broadcast.publish(group, json.dumps(message))

    def encode(self, message: Message) -> Any:
        return json.dumps(message)

    def key(self, received: Any) -> Hashable:
        return str(getattr(received, "message", received))
