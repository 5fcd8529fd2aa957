"""A channel layer inside one process: for development, tests and single-process apps.

Each message arrives once and in order. Several event loops (threads) of the process may share it.
What the process held is gone when it ends.
"""

import re
from collections.abc import Mapping
from typing import ClassVar

from ..exceptions import ChannelFull, ChannelNotOwned
from ..mailbox import Mailbox, Message, Overflow
from ..messages import detached
from .in_memory_queue import InMemoryWorkQueue


class InMemoryChannelLayer(InMemoryWorkQueue):
    """``group_expiry`` is accepted for compatibility: a member stays until it leaves or closes."""

    extensions: ClassVar[list[str]] = ["groups", "flush"]

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: int = 86400,
        capacity: int = 100,
        channel_capacity: Mapping[str | re.Pattern[str], int] | None = None,
    ) -> None:
        super().__init__(expiry, capacity, channel_capacity)
        self.group_expiry = group_expiry

    @property
    def dropped(self) -> int:
        """Messages dropped because a receiver's mailbox was full, since the layer was made."""
        return self._local.drops.total

    @property
    def expired(self) -> int:
        """Messages dropped because nobody read them for ``expiry`` seconds."""
        return self._local.expirations.total

    async def send(self, channel: str, message: Message) -> None:
        mailbox = self._local.mailboxes.get(channel)
        if mailbox is None:
            self.require_valid_channel_name(channel)
            if self._names.owns(channel):
                return  # its consumer is gone: as with any broker, nobody receives this
            mailbox = self._local.open(channel)
        self.require_valid_message(message)
        own = detached(message)
        if mailbox.full:
            raise ChannelFull(f"Channel {channel} holds {mailbox.capacity} unread messages")
        mailbox.put(own)

    async def receive(self, channel: str) -> Message:
        mailbox = self._local.mailboxes.get(channel)
        if mailbox is None:
            self.require_valid_channel_name(channel)
            if self._names.owns(channel):
                raise ChannelNotOwned(channel)
        elif self._is_fresh(channel) and (message := mailbox.take()) is not None:
            if mailbox.idle:
                self._tidy(channel)
            return message
        try:
            # Looked up anew in each round: an idle named channel is forgotten, and made again.
            while (message := self._next(channel)) is None:
                await self._wait(channel)
            return message
        finally:
            self._tidy(channel)

    async def new_channel(self, prefix: str = "specific.") -> str:
        channel = self._names.make(prefix)
        self._local.open(channel)
        return channel

    async def group_add(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        if channel in self._local.mailboxes or not self._names.owns(channel):
            self._local.join(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        self._local.leave(group, channel)

    async def group_send(self, group: str, message: Message) -> None:
        self.require_valid_message(message)
        own = detached(message)
        if group in self._local.groups:
            self._local.deliver_group(group, own)
        else:
            self.require_valid_group_name(group)

    async def flush(self) -> None:
        self._local.clear()
        self._forget_jobs()

    async def close(self) -> None:
        await self.flush()

    async def aclose(self) -> None:
        await self.flush()

    def mailbox(self, channel: str, overflow: Overflow | None = None) -> Mailbox:
        return self._local.open(channel, overflow)

    async def close_channel(self, channel: str) -> None:
        self._local.close(channel)

    def _is_fresh(self, channel: str) -> bool:
        """Nothing was given back."""
        return channel not in self._returned and channel not in self._delayed

    def _next(self, channel: str) -> Message | None:
        self._end_delays(channel)
        if returned := self._returned.get(channel):
            return returned.popleft().message
        return self._local.open(channel).take()
