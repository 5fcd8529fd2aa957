"""A channel layer inside one process: for development, tests and single-process apps.

Each message arrives once and in order. Several event loops (threads) of the process may share it.
What the process held is gone when it ends. No broker is known here.

Invariants of jobs
- A job waits in its channel's mailbox until its first lease. From then on it is one of ``_jobs``, until
  it is acknowledged, received or a dead letter.
- It is leased, or stands in the line of those that were given back, which go before the mailbox. It
  is due there at a time that nothing but the clock brings: it needs neither the task nor the event loop
  that gave it back. Until then it counts as leased.
- A lease never ends by itself: a worker cannot die without the layer.
- Each delivery is a copy: what a failed handler did to its message, the next attempt does not see.

Invariants of history
- A group has a log if ``group_history`` is for it, or since somebody joined it; other groups cost nothing.
- The events of a log are numbered without a gap. What is dropped is dropped at its beginning, so all
  after a number are there if the next one is.
- A log is forgotten when nobody follows it and its history has lasted since its last event or joining;
  a new one has another epoch, in which no position of the old one stands.
- Delivering, keeping and joining are one step each, whichever thread does them.
- A joining brings at most ``MOST_MESSAGES`` and ``MOST_BYTES``, as in Redis.
"""

import asyncio
import contextlib
import itertools
import marshal
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from typing import ClassVar

from ..exceptions import ChannelNotOwned
from ..mailbox import Mailbox, Message, Overflow
from ..messages import detached
from ..names import ChannelNames
from .base import BaseChannelLayer
from .groups import LocalGroups, copier
from .history import (
    MOST_BYTES,
    MOST_MESSAGES,
    POSITION,
    Histories,
    History,
    Joined,
)
from .jobs import DeadLetter, Delivery, Depth, channel_full, shortened

DEAD_LETTERS_KEPT = 1000  # per channel; the oldest go first


@dataclass(eq=False, slots=True)
class Job:
    """A message that has been leased."""

    channel: str
    message: Message  # as it was sent
    id: str
    attempt: int = 1
    due: float = inf  # by the monotonic clock, when it may be leased again; leased: never


class InMemoryChannelLayer(BaseChannelLayer):
    """An ``InspectableWorkQueue``, whose leases end only with the process.

    ``group_expiry`` is accepted for compatibility: a member stays until it leaves or closes.
    ``group_history`` is as in ``RedisChannelLayer``; groups that it does not name are kept from their
    first ``join()`` on, for ``expiry`` seconds after their last event.
    """

    extensions: ClassVar[list[str]] = ["groups", "flush"]
    lease_time: float | None = None

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: int = 86400,
        capacity: int = 100,
        channel_capacity: Mapping[str | re.Pattern[str], int] | None = None,
        *,
        group_history: Mapping[str | re.Pattern[str], History] | None = None,
    ) -> None:
        super().__init__(expiry, capacity, channel_capacity)
        self.group_expiry = group_expiry
        self._names = ChannelNames()
        self.local = LocalGroups(self.get_capacity, expiry)
        histories = Histories(group_history, History(MOST_MESSAGES, expiry))
        self._history = MemoryHistory(self.local, histories)
        self._keeps_history = bool(group_history)  # of some groups, whoever joins them
        self._numbers = itertools.count(1)
        self._jobs: dict[str, Job] = {}  # by id
        self._given_back: dict[str, list[tuple[float, int, Job]]] = {}  # heaps, by channel
        self._dead: dict[str, dict[str, DeadLetter]] = {}  # by channel and receipt

    @property
    def dropped(self) -> int:
        """Messages dropped because a receiver's mailbox was full, since the layer was made."""
        return self.local.drops.total

    @property
    def expired(self) -> int:
        """Messages dropped because nobody read them for ``expiry`` seconds."""
        return self.local.expirations.total

    # Channels and groups

    async def send(self, channel: str, message: Message) -> None:
        mailbox = self.local.mailboxes.get(channel)
        if mailbox is None:
            self.require_valid_channel_name(channel)
            if self._names.owns(channel):
                return  # its consumer is gone: as with any broker, nobody receives this
            mailbox = self.local.mailbox_of(channel)
        self.require_valid_message(message)
        own = detached(message)
        if mailbox.full:
            raise channel_full(channel, mailbox.capacity)
        mailbox.put(own)

    async def receive(self, channel: str) -> Message:
        mailbox = self.local.mailboxes.get(channel)
        if mailbox is None:
            self.require_valid_channel_name(channel)
            if self._names.owns(channel):
                raise ChannelNotOwned(channel)
        elif channel not in self._given_back and (message := mailbox.take()) is not None:
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
        self.local.mailbox_of(channel)
        return channel

    async def group_add(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        if channel in self.local.mailboxes or not self._names.owns(channel):
            self.local.join(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        self.local.leave(group, channel)

    async def group_send(self, group: str, message: Message) -> None:
        self.require_valid_message(message)
        own = detached(message)
        if (self._history.logs or self._keeps_history) and self._history.wants(group):
            self.require_valid_group_name(group)
            self._history.deliver(group, own)
        elif group in self.local.members:
            self.local.deliver_group(group, own)
        else:
            self.require_valid_group_name(group)

    async def join(
        self, group: str, channel: str, *, since: str | None = None, history: int = 0
    ) -> Joined:
        self.require_joinable(group, channel, since, history)
        if channel not in self.local.mailboxes:
            raise ChannelNotOwned(channel)
        return self._history.join(group, channel, since, history)

    async def flush(self) -> None:
        self.local.clear()
        self._history.logs.clear()
        self._jobs.clear()
        self._given_back.clear()
        self._dead.clear()

    async def aclose(self) -> None:
        await self.flush()

    close = aclose

    def mailbox(self, channel: str, overflow: Overflow | None = None) -> Mailbox:
        return self.local.mailbox_of(channel, overflow)

    async def close_channel(self, channel: str) -> None:
        self.local.close(channel)

    # Jobs

    async def lease(self, channel: str, count: int = 1) -> list[Delivery]:
        self.require_valid_channel_name(channel)
        try:
            while not (batch := self._lease(channel, count)):
                await self._wait(channel)
            return batch
        finally:
            self._tidy(channel)

    async def acknowledge(self, *deliveries: Delivery) -> None:
        for delivery in deliveries:
            self._jobs.pop(delivery.id, None)

    async def renew(self, delivery: Delivery) -> bool:
        return True

    async def release(self, delivery: Delivery) -> None:
        if (job := self._leased(delivery)) is not None:
            self._give_back(job)

    async def reject(
        self, delivery: Delivery, *, delay: float = 0.0, final: bool = False, reason: str = ""
    ) -> None:
        if (job := self._leased(delivery)) is None:
            return
        if final:
            del self._jobs[job.id]
            self._bury(job, reason)
        else:
            job.attempt += 1
            self._give_back(job, delay)

    async def depth(self, channel: str) -> Depth:
        self.require_valid_channel_name(channel)
        now = time.monotonic()
        jobs = [job for job in list(self._jobs.values()) if job.channel == channel]
        due = sum(job.due <= now for job in jobs)
        if (mailbox := self.local.mailboxes.get(channel)) is not None:
            mailbox.drop_expired()
        return Depth(
            waiting=due + (0 if mailbox is None else len(mailbox)),
            leased=len(jobs) - due,
            dead=len(self._dead.get(channel, ())),
        )

    async def dead_letters(
        self, channel: str, count: int = 100, after: str = ""
    ) -> list[DeadLetter]:
        self.require_valid_channel_name(channel)
        letters = self._dead.get(channel, {}).values()
        return [one for one in letters if int(one.receipt) > int(after or 0)][:count]

    async def replay(self, channel: str, letter: DeadLetter) -> bool:
        self.require_valid_channel_name(channel)
        message = copier(letter.decoded())()
        mailbox = self.local.mailbox_of(channel)
        if mailbox.full:
            raise channel_full(channel, mailbox.capacity)
        found = await self.discard(channel, letter)
        if found:
            self._jobs[letter.id] = job = Job(channel, message, letter.id)
            self._give_back(job)
        return found

    async def discard(self, channel: str, letter: DeadLetter) -> bool:
        self.require_valid_channel_name(channel)
        letters = self._dead.get(channel, {})
        found = letters.pop(letter.receipt, None) is not None
        if not letters:
            self._dead.pop(channel, None)
        return found

    def _lease(self, channel: str, count: int) -> list[Delivery]:
        mailbox = self.local.mailbox_of(channel)
        batch: list[Delivery] = []
        while len(batch) < count:
            job = self._next_given_back(channel) if channel in self._given_back else None
            if job is None:
                if (message := mailbox.take()) is None:
                    break
                job = Job(channel, message, f"{self._names.process_id}{next(self._numbers):016x}")
                self._jobs[job.id] = job
            batch.append(Delivery(channel, copier(job.message)(), job.id, job.attempt))
        return batch

    def _next(self, channel: str) -> Message | None:
        """For a plain receiver, which acknowledges nothing."""
        if (job := self._next_given_back(channel)) is not None:
            del self._jobs[job.id]
            return job.message
        return self.local.mailbox_of(channel).take()

    def _next_given_back(self, channel: str) -> Job | None:
        """A job that is due; from now on it is leased again."""
        while (line := self._given_back.get(channel)) and line[0][0] <= time.monotonic():
            job = heappop(line)[2]
            if not line:
                del self._given_back[channel]
            if self._jobs.get(job.id) is job:  # not acknowledged since
                job.due = inf
                return job
        return None

    def _leased(self, delivery: Delivery) -> Job | None:
        """The job, if this delivery is the one that has it."""
        job = self._jobs.get(delivery.id)
        if job is None or job.due < inf or job.attempt != delivery.attempt:
            return None
        return job

    def _give_back(self, job: Job, delay: float = 0.0) -> None:
        job.due = time.monotonic() + delay
        line = self._given_back.setdefault(job.channel, [])
        heappush(line, (job.due, next(self._numbers), job))
        self.local.mailbox_of(job.channel).poke()  # to take it, or to wait until it is due

    def _bury(self, job: Job, reason: str) -> None:
        receipt = str(next(self._numbers))
        letters = self._dead.setdefault(job.channel, {})
        letters[receipt] = DeadLetter(
            job.id, job.message, job.attempt, shortened(reason), time.time(), receipt
        )
        if len(letters) > DEAD_LETTERS_KEPT:
            del letters[next(iter(letters))]

    async def _wait(self, channel: str) -> None:
        """Until there may be something to take: a message comes, or a job is due."""
        mailbox = self.local.mailbox_of(channel)
        if not (line := self._given_back.get(channel)):
            await mailbox.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(line[0][0] - time.monotonic()):
                await mailbox.wait()

    def _tidy(self, channel: str) -> None:
        if channel in self._given_back:
            # The wake-up of a receiver that was cancelled is another's.
            self.local.mailbox_of(channel).poke()
        elif not self._names.owns(channel):
            self.local.close_if_idle(channel)


class Log:
    """What one group has said."""

    def __init__(self, history: History) -> None:
        self.seconds = history.seconds
        self.epoch = secrets.token_hex(4)
        self.last = 0  # number of the newest event
        self.used_at = time.monotonic()
        # What makes a copy of each event, the last of which has the number ``last``.
        self._events: deque[Callable[[], Message]] = deque(maxlen=history.messages)
        # In bytes, 0 until an event is first brought to somebody: nobody may come back.
        self._sizes: deque[int] = deque(maxlen=history.messages)

    def position(self, number: int) -> str:
        return f"{self.epoch}.{number}"

    def append(self, message: Message) -> str:
        """The position of a new event."""
        self.used_at = time.monotonic()
        self.last += 1
        position = self.position(self.last)
        self._events.append(copier({**message, POSITION: position}))
        self._sizes.append(0)
        return position

    def missed(self, since: str) -> int | None:
        """How many events came after a position; None if it proves nothing."""
        epoch, _, number = since.partition(".")
        if epoch != self.epoch or not number.isdecimal() or len(number) > len(str(self.last)):
            return None
        missed = self.last - int(number)
        return missed if 0 <= missed <= len(self._events) else None

    def newest(self, count: int) -> list[Message]:
        """Of the newest events up to ``count``, or as many as one joining may bring; the oldest first."""
        newest: list[Message] = []
        room = MOST_BYTES
        for index in range(1, min(count, MOST_MESSAGES, len(self._events)) + 1):
            message = self._events[-index]()
            # About as Redis would keep it.
            size = self._sizes[-index] = self._sizes[-index] or len(marshal.dumps(message))
            if (room := room - size) < 0:
                break
            newest.append(message)
        return newest[::-1]


class MemoryHistory:
    def __init__(self, groups: LocalGroups, histories: Histories) -> None:
        self.logs: dict[str, Log] = {}
        self._groups = groups
        self._histories = histories
        self._lock = threading.Lock()
        self._swept = 100  # how many logs make it worth while to look for idle ones

    def wants(self, group: str) -> bool:
        return group in self.logs or self._histories.declared(group)

    def deliver(self, group: str, message: Message) -> None:
        """To the members, and into the log."""
        with self._lock:
            position = self._log(group).append(message)
            self._groups.deliver_event(group, message, position)

    def join(self, group: str, channel: str, since: str | None, history: int) -> Joined:
        with self._lock:
            log = self._log(group)
            log.used_at = time.monotonic()
            self._groups.join(group, channel)
            self._groups.follow(group, channel, ready=True)
            missed = None if since is None else log.missed(since)
            messages = log.newest(history if missed is None else missed)
            complete = since is None or len(messages) == missed
            if missed is not None and not complete:
                del messages[: max(len(messages) - history, 0)]
            return Joined(messages, complete, log.position(log.last))

    def _log(self, group: str) -> Log:
        now = time.monotonic()
        log = self.logs.get(group)
        if log is None or self._is_idle(group, log, now):
            self._sweep(now)
            log = self.logs[group] = Log(self._histories.of(group))
        return log

    def _sweep(self, now: float) -> None:
        if len(self.logs) < self._swept:
            return
        for group, log in list(self.logs.items()):
            if self._is_idle(group, log, now):
                del self.logs[group]
        self._swept = max(2 * len(self.logs), 100)

    def _is_idle(self, group: str, log: Log, now: float) -> bool:
        return now - log.used_at >= log.seconds and group not in self._groups.followers
