"""What Litestar's channels and broadcaster have in common: text in, the same text out to each member."""

import asyncio
from collections.abc import Hashable
from itertools import count
from typing import Any

from .rooms import Message, Receive, Rooms

PROBE_INTERVAL = 0.1  # seconds between two messages to a group that may not be listened to yet


class TextRooms(Rooms):
    """Rooms whose members receive the encoded message as it was sent."""

    def encode(self, message: Message) -> Any:
        """What members receive."""
        raise NotImplementedError

    def key(self, received: Any) -> Hashable:
        hashable: Hashable = received
        return hashable

    def key_of(self, sent: Message) -> Hashable:
        return self.key(self.encode(sent))

    async def heard(self, group: str, receive: Receive) -> None:
        """Return when the first member of a group hears it.

        With Redis, these libraries return from subscribing before the server has confirmed it.
        """
        receiving = asyncio.ensure_future(receive())
        for number in count(1):
            await self.publish(group, {"probe": number})
            if (await asyncio.wait({receiving}, timeout=PROBE_INTERVAL))[0]:
                break
        last = self.key_of({"probe": number})
        message = receiving.result()
        while self.key(message) != last:
            message = await receive()
