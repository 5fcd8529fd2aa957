"""A channel layer inside one process: for development, tests and single-process apps.

Each message arrives once and in order. Several event loops (threads) of the process may share it.
What the process held is gone when it ends. The jobs of named channels are leased, acknowledged, tried
again or given up, as ``jobs`` documents it.

Invariants
- A message waits in its mailbox, or in the line of those that were given back, which go first; or it
  is leased; or it is a dead letter.
- What was given back with a delay counts as leased until that is over. Nothing but the clock ends it: it
  needs neither the task nor the event loop that gave it back.
- A lease never ends by itself: who holds a message cannot die without the layer.
- Each delivery is a copy: what a failed handler did to its message, the next attempt does not see.
"""

import asyncio
import contextlib
import re
import time
from collections import deque
from collections.abc import Mapping
from heapq import heappop, heappush
from itertools import count as count_from
from typing import ClassVar

from ..exceptions import ChannelFull, ChannelNotOwned, UndecodableMessage
from ..mailbox import Mailbox, Message, Overflow
from ..messages import detached
from ..names import ChannelNames
from .base import BaseChannelLayer
from .groups import LocalGroups, copier
from .jobs import DeadLetter, Delivery, Depth, shortened

DEAD_LETTERS_KEPT = 1000  # per channel; the oldest go first


class InMemoryChannelLayer(BaseChannelLayer):
    """``group_expiry`` is accepted for compatibility: a member stays until it leaves or closes."""

    lease_time: float | None = None  # a lease never ends by itself
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
        self._names = ChannelNames()
        self._groups = LocalGroups(self.get_capacity, expiry)
        self._returned: dict[str, deque[Delivery]] = {}
        self._leased: dict[tuple[str, str], Message] = {}  # by channel and id
        # By channel; when they are due, by the monotonic clock, and in which order they came.
        self._delayed: dict[str, list[tuple[float, int, Delivery]]] = {}
        self._dead: dict[str, deque[DeadLetter]] = {}
        self._receipts = count_from(1)
        self._ids = count_from(1)

    @property
    def dropped(self) -> int:
        """Messages dropped because a receiver's mailbox was full, since the layer was made."""
        return self._groups.drops.total

    @property
    def expired(self) -> int:
        """Messages dropped because nobody read them for ``expiry`` seconds."""
        return self._groups.expirations.total

    async def send(self, channel: str, message: Message) -> None:
        mailbox = self._groups.mailboxes.get(channel)
        if mailbox is None:
            self.require_valid_channel_name(channel)
            if self._names.owns(channel):
                return  # its consumer is gone: as with any broker, nobody receives this
            mailbox = self._groups.mailbox_of(channel)
        self.require_valid_message(message)
        own = detached(message)
        if mailbox.full:
            raise ChannelFull(f"Channel {channel} holds {mailbox.capacity} unread messages")
        mailbox.put(own)

    async def receive(self, channel: str) -> Message:
        mailbox = self._groups.mailboxes.get(channel)
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
        self._groups.mailbox_of(channel)
        return channel

    async def group_add(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        if channel in self._groups.mailboxes or not self._names.owns(channel):
            self._groups.join(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        self._groups.leave(group, channel)

    async def group_send(self, group: str, message: Message) -> None:
        self.require_valid_message(message)
        own = detached(message)
        if group in self._groups.members:
            self._groups.deliver_group(group, own)
        else:
            self.require_valid_group_name(group)

    async def flush(self) -> None:
        self._groups.clear()
        self._forget_jobs()

    async def close(self) -> None:
        await self.flush()

    async def aclose(self) -> None:
        await self.flush()

    def mailbox(self, channel: str, overflow: Overflow | None = None) -> Mailbox:
        return self._groups.mailbox_of(channel, overflow)

    async def close_channel(self, channel: str) -> None:
        self._groups.close(channel)

    # Jobs: an ``InspectableWorkQueue``, which documents the methods

    async def lease(self, channel: str, count: int = 1) -> list[Delivery]:
        self.require_valid_channel_name(channel)
        try:
            while not (batch := self._take(channel, count)):
                await self._wait(channel)
            return batch
        finally:
            self._tidy(channel)

    async def acknowledge(self, *deliveries: Delivery) -> None:
        for delivery in deliveries:
            self._leased.pop((delivery.channel, delivery.id), None)

    async def renew(self, delivery: Delivery) -> bool:
        return True

    async def release(self, delivery: Delivery) -> None:
        self._offer_again(self._as_sent(delivery))

    async def reject(
        self, delivery: Delivery, *, delay: float = 0.0, final: bool = False, reason: str = ""
    ) -> None:
        delivery = self._as_sent(delivery)
        if final:
            self._bury(delivery, reason)
        else:
            again = delivery._replace(attempt=delivery.attempt + 1)
            entry = (time.monotonic() + delay, next(self._receipts), again)
            heappush(self._delayed.setdefault(again.channel, []), entry)
            self._wake(again.channel)  # to wait until this is due

    async def depth(self, channel: str) -> Depth:
        self.require_valid_channel_name(channel)
        self._end_delays(channel)
        return Depth(
            waiting=self._unread(channel) + len(self._returned.get(channel, ())),
            leased=sum(name == channel for name, _ in self._leased),
            dead=len(self._dead.get(channel, ())),
        )

    async def dead_letters(
        self, channel: str, count: int = 100, after: str = ""
    ) -> list[DeadLetter]:
        self.require_valid_channel_name(channel)
        letters = self._dead.get(channel, ())
        return [one for one in letters if int(one.receipt) > int(after or 0)][:count]

    async def replay(self, channel: str, letter: DeadLetter) -> bool:
        self.require_valid_channel_name(channel)
        if letter.message is None:
            raise UndecodableMessage(f"Dead letter {letter.id} cannot be decoded: {letter.reason}")
        mailbox = self._groups.mailbox_of(channel)
        if mailbox.full:
            raise ChannelFull(f"Channel {channel} holds {mailbox.capacity} unread messages")
        found = await self.discard(channel, letter)
        if found:
            self._return(Delivery(channel, copier(letter.message)(), letter.id, attempt=1))
        return found

    async def discard(self, channel: str, letter: DeadLetter) -> bool:
        self.require_valid_channel_name(channel)
        letters = self._dead.get(channel, deque())
        kept = [one for one in letters if one.receipt != letter.receipt]
        found = len(kept) < len(letters)
        if kept:
            self._dead[channel] = deque(kept, maxlen=DEAD_LETTERS_KEPT)
        else:
            self._dead.pop(channel, None)
        return found

    async def _wait(self, channel: str) -> None:
        """Until there may be something to take: a message comes, or a delay is over."""
        waiting = self._groups.mailbox_of(channel).wait()
        if delayed := self._delayed.get(channel):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delayed[0][0] - time.monotonic()):
                    await waiting
        else:
            await waiting

    def _end_delays(self, channel: str) -> None:
        """What is due may be taken."""
        delayed = self._delayed.get(channel)
        while delayed and delayed[0][0] <= time.monotonic():
            self._offer_again(heappop(delayed)[2])
        if not delayed:
            self._delayed.pop(channel, None)

    def _take(self, channel: str, count: int) -> list[Delivery]:
        self._end_delays(channel)
        mailbox = self._groups.mailbox_of(channel)
        batch: list[Delivery] = []
        returned = self._returned.get(channel)
        while returned and len(batch) < count:
            again = returned.popleft()
            batch.append(self._hold(channel, again.message, again.id, again.attempt))
        while len(batch) < count and (message := mailbox.take()) is not None:
            batch.append(self._hold(channel, message, self._make_id(), 1))
        return batch

    def _hold(self, channel: str, message: Message, id: str, attempt: int) -> Delivery:
        self._leased[channel, id] = message
        return Delivery(channel, copier(message)(), id, attempt)

    def _make_id(self) -> str:
        return f"{self._names.process_id}{next(self._ids):016x}"

    def _unread(self, channel: str) -> int:
        mailbox = self._groups.mailboxes.get(channel)
        if mailbox is None:
            return 0
        mailbox.drop_expired()
        return len(mailbox)

    def _as_sent(self, delivery: Delivery) -> Delivery:
        key = (delivery.channel, delivery.id)
        return delivery._replace(message=self._leased.setdefault(key, delivery.message))

    def _bury(self, delivery: Delivery, reason: str) -> None:
        del self._leased[delivery.channel, delivery.id]
        letters = self._dead.setdefault(delivery.channel, deque(maxlen=DEAD_LETTERS_KEPT))
        letters.append(
            DeadLetter(
                id=delivery.id,
                message=delivery.message,
                attempts=delivery.attempt,
                reason=shortened(reason),
                at=time.time(),
                receipt=str(next(self._receipts)),
            )
        )

    def _offer_again(self, delivery: Delivery) -> None:
        if self._leased.pop((delivery.channel, delivery.id), None) is not None:  # not flushed since
            self._return(delivery)

    def _return(self, delivery: Delivery) -> None:
        self._returned.setdefault(delivery.channel, deque()).append(delivery)
        self._wake(delivery.channel)

    def _wake(self, channel: str) -> None:
        """The receiver that has waited longest, if there is one."""
        if (mailbox := self._groups.mailboxes.get(channel)) is not None:
            mailbox.poke()

    def _forget_jobs(self) -> None:
        self._returned.clear()
        self._leased.clear()
        self._delayed.clear()
        self._dead.clear()

    def _tidy(self, channel: str) -> None:
        if self._names.owns(channel):
            return
        if self._returned.get(channel) or channel in self._delayed:
            self._wake(channel)  # the wake-up of one that is cancelled is another's
        else:
            self._returned.pop(channel, None)
        self._groups.close_if_idle(channel)

    def _is_fresh(self, channel: str) -> bool:
        """Nothing was given back."""
        return channel not in self._returned and channel not in self._delayed

    def _next(self, channel: str) -> Message | None:
        self._end_delays(channel)
        if returned := self._returned.get(channel):
            return returned.popleft().message
        return self._groups.mailbox_of(channel).take()
