"""Deadlines that all lie the same time ahead: one timer of the loop for thousands of connections.

A timer per connection costs about 350 bytes with uvloop, and a ping every 20 s keeps one armed for
each. Where the delay is the same for all, they expire in the order in which they were added.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# What expires within this part of the delay, or this time, expires together.
SLACK = 0.05
MAX_SLACK = 0.5  # seconds


class Deadlines(Generic[T]):
    """Calls ``expired(item)`` between ``delay`` and 1.05 x ``delay`` seconds after ``add(item)``."""

    __slots__ = ("_delay", "_due", "_expired", "_loop", "_slack", "_timer")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, delay: float, expired: Callable[[T], None]
    ) -> None:
        self._loop = loop
        self._delay = delay
        self._slack = min(SLACK * delay, MAX_SLACK)
        self._expired = expired
        self._due: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, item: T) -> None:
        """Start the item's time, anew if it has begun."""
        self._due.pop(item, None)
        self._due[item] = self._loop.time() + self._delay
        if self._timer is None:
            self._timer = self._loop.call_later(self._delay + self._slack, self._expire)

    def discard(self, item: T) -> bool:
        """Stop the item's time; whether it was running."""
        return self._due.pop(item, None) is not None

    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        expired = []
        for item, due in self._due.items():
            if due > now:
                self._timer = self._loop.call_at(due + self._slack, self._expire)
                break
            expired.append(item)
        for item in expired:
            # One that expires earlier in this loop may have stopped another's time.
            if self._due.pop(item, None) is not None:
                self._expired(item)
