"""A channel layer inside one process: for development, tests and single-process apps.

Each message arrives once and in order. Several event loops (threads) of the process may share it.
What the process held is gone when it ends.
"""

import asyncio
import copy
import re
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from ..exceptions import ChannelFull
from ..mailbox import Mailbox, Message, Overflow
from .base import BaseChannelLayer, ChannelNames
from .jobs import Delivery
from .local import LocalDelivery

DEAD_LETTERS_KEPT = 1000  # per layer; the oldest go first


class InMemoryChannelLayer(BaseChannelLayer):
    """``group_expiry`` is accepted for compatibility: a member stays until it leaves or closes."""

    extensions: ClassVar[list[str]] = ["groups", "flush"]
    lease_time: float | None = None

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: int = 86400,
        capacity: int = 100,
        channel_capacity: Mapping[str | re.Pattern[str], int] | None = None,
    ) -> None:
        super().__init__(expiry, capacity, channel_capacity)
        self.group_expiry = group_expiry
        self._names = ChannelNames()
        self._local = LocalDelivery(self.get_capacity, expiry)
        self._rejected: dict[str, deque[Delivery]] = {}
        self.dead_letters: deque[Delivery] = deque(maxlen=DEAD_LETTERS_KEPT)

    @property
    def dropped(self) -> int:
        """Messages dropped because a receiver's mailbox was full, since the layer was made."""
        return self._local.drops.total

    async def send(self, channel: str, message: Message) -> None:
        self.require_valid_channel_name(channel)
        self.require_valid_message(message)
        self._put(channel, copy.deepcopy(message))

    async def receive(self, channel: str) -> Message:
        self.require_valid_channel_name(channel)
        try:
            # Looked up anew in each round: an idle named channel is forgotten, and made again.
            while (message := self._local.open(channel).take()) is None:
                await self._local.open(channel).wait()
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
        self._local.join(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        self._local.leave(group, channel)

    async def group_send(self, group: str, message: Message) -> None:
        self.require_valid_group_name(group)
        self.require_valid_message(message)
        self._local.deliver_group(group, message)

    async def flush(self) -> None:
        self._local.clear()
        self._rejected.clear()
        self.dead_letters.clear()

    async def close(self) -> None:
        await self.flush()

    async def aclose(self) -> None:
        await self.flush()

    def mailbox(self, channel: str, overflow: Overflow | None = None) -> Mailbox:
        return self._local.open(channel, overflow)

    async def close_channel(self, channel: str) -> None:
        self._local.close(channel)

    # A work queue without a broker

    async def lease(self, channel: str, count: int = 1) -> list[Delivery]:
        self.require_valid_channel_name(channel)
        try:
            while not (batch := self._take(channel, count)):
                await self._local.open(channel).wait()
            return batch
        finally:
            self._tidy(channel)

    async def acknowledge(self, delivery: Delivery) -> None:
        """Nothing to do: what is leased has left its mailbox."""

    async def renew(self, delivery: Delivery) -> None:
        """Nothing to do: who holds a message here cannot die without the layer."""

    async def release(self, delivery: Delivery) -> None:
        self._offer_again(delivery)

    async def reject(self, delivery: Delivery, *, delay: float = 0.0, final: bool = False) -> None:
        if final:
            self.dead_letters.append(delivery)
            return
        again = replace(delivery, attempt=delivery.attempt + 1)
        asyncio.get_running_loop().call_later(delay, self._offer_again, again)

    def _offer_again(self, delivery: Delivery) -> None:
        self._rejected.setdefault(delivery.channel, deque()).append(delivery)
        self._local.open(delivery.channel).poke()

    def _take(self, channel: str, count: int) -> list[Delivery]:
        mailbox = self._local.open(channel)
        batch: list[Delivery] = []
        rejected = self._rejected.get(channel)
        while rejected and len(batch) < count:
            batch.append(rejected.popleft())
        while len(batch) < count and (message := mailbox.take()) is not None:
            batch.append(Delivery(channel, message, uuid.uuid4().hex, attempt=1))
        return batch

    def _put(self, channel: str, message: Message) -> None:
        if self._names.owns(channel):
            mailbox = self._local.mailboxes.get(channel)
            if mailbox is None:
                return  # its consumer is gone: as with any broker, nobody receives this
        else:
            mailbox = self._local.open(channel)
        if mailbox.full:
            raise ChannelFull(f"Channel {channel} holds {mailbox.capacity} unread messages")
        mailbox.put(message)

    def _tidy(self, channel: str) -> None:
        if not self._names.owns(channel):
            self._local.close_if_idle(channel)
