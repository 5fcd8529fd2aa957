"""What the groups of the in-memory layer have said, as long as the process lives.

Invariants
- A group has a log if ``group_history`` is for it, or since somebody joined it; other groups cost nothing.
- The events of a log are numbered without a gap. What is dropped is dropped at its beginning, so all
  after a number are there if the next one is.
- A log is forgotten when nobody follows it and its history has lasted since its last event or joining;
  a new one has another epoch, in which no position of the old one stands.
- Delivering, keeping and joining are one step each, whichever thread does them.
- A joining brings at most ``MOST_MESSAGES`` and ``MOST_BYTES``, as in Redis. An event's size is found out
  when it is first brought to somebody: it costs nothing where nobody comes back.
"""

import marshal
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable

from ..mailbox import Message
from .groups import LocalGroups, copier
from .history import MOST_BYTES, MOST_MESSAGES, POSITION, Histories, History, Joined


class Log:
    """Of one group."""

    def __init__(self, history: History) -> None:
        self.seconds = history.seconds
        self.epoch = secrets.token_hex(4)
        self.last = 0  # number of the newest event
        self.used_at = time.monotonic()
        # What makes a copy of each event, the last of which has the number ``last``.
        self._events: deque[Callable[[], Message]] = deque(maxlen=history.messages)
        self._sizes: deque[int] = deque(maxlen=history.messages)  # of each, 0 if not known yet

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

    def fitting(self, count: int) -> int:
        """How many of the newest ``count`` events one joining may bring."""
        room = MOST_BYTES
        for number in range(min(count, MOST_MESSAGES, len(self._events))):
            index = -1 - number
            size = self._sizes[index] = self._sizes[index] or size_of(self._events[index]())
            if (room := room - size) < 0:
                return number
        return min(count, MOST_MESSAGES, len(self._events))

    def newest(self, count: int) -> list[Message]:
        start = len(self._events) - count
        return [self._events[index]() for index in range(start, len(self._events))]


def size_of(message: Message) -> int:
    """In bytes, about as Redis would keep it."""
    try:
        return len(marshal.dumps(message))
    except ValueError:  # it holds what a message does not carry
        return len(repr(message))


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
            count = log.fitting(history if missed is None else missed)
            complete = since is None or count == missed
            if missed is not None and not complete:
                count = min(count, history)
            return Joined(log.newest(count), complete, log.position(log.last))

    def clear(self) -> None:
        self.logs.clear()

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
