"""Rosters inside one process, shared by its event loops: what the scripts do in Redis, in plain dicts.

Invariant: each method does its work in one step under a lock, and calls listeners in their own loops.
"""

import asyncio
import marshal
import time
import uuid
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple

from ..mailbox import Message
from .rosters import (
    ENDING,
    EXPIRES,
    STALE,
    WATCHED,
    Hold,
    Holds,
    Lease,
    Listener,
    Notice,
    Page,
    Seen,
    State,
    Written,
    check_size,
)

PLAIN = 2  # version of marshal's format: of equal values the same bytes


class Part(NamedTuple):
    """What one process holds of a key."""

    hold: Hold
    stamp: int


@dataclass(slots=True)
class Entry:
    """A key; ``parts`` are by process."""

    shown: int = 0
    parts: dict[str, Part] = field(default_factory=dict)

    def seen(self, key: str) -> Seen:
        latest = max(self.parts.items(), key=lambda one: (one[1].stamp, one[0]), default=None)
        return Seen(key, self.shown, b"" if latest is None else latest[1].hold.info)

    def show(self) -> None:
        there = sum(part.hold.live for part in self.parts.values())
        left = sum(part.hold.lingering for part in self.parts.values())
        self.shown = max(1, there, min(self.shown, there + left)) if self.parts else 0


@dataclass(slots=True)
class Roster:
    epoch: bytes = field(default_factory=lambda: uuid.uuid4().hex.encode())
    version: int = 0
    watched: float = 0.0  # until when
    written: float = 0.0
    entries: dict[str, Entry] = field(default_factory=dict)
    writes: dict[str, tuple[int, float]] = field(default_factory=dict)  # and when confirmed

    def hold(self, key: str, process: str, hold: Hold, stamp: int) -> Seen | None:
        """The key as it is seen from now on, if that has changed."""
        entry = self.entries.setdefault(key, Entry())
        before, own = entry.seen(key), entry.parts.get(process)
        if hold.live + hold.lingering == 0:
            entry.parts.pop(process, None)
        else:
            kept = own is not None and not hold.fresh
            entry.parts[process] = Part(hold, own.stamp if own is not None and kept else stamp)
        entry.show()
        if not entry.parts:
            del self.entries[key]
        after = entry.seen(key)
        return None if after == before else after


class MemoryRosters:
    """``clock`` gives seconds; leases are its."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._born: float | None = None
        self._leases: dict[str, tuple[int, bool]] = {}  # deadlines, and whether it has resigned
        self._lease = 0.0
        self._rosters: dict[str, Roster] = {}
        self._stamp = 0
        self._listeners: dict[str, dict[Listener, asyncio.AbstractEventLoop]] = defaultdict(dict)

    @property
    def _now(self) -> int:
        return int(self._clock() * 1000)

    # The registry

    async def renew(
        self, process: str, deadline: int | None, *, lease: float, may_sweep: bool
    ) -> Lease | None:
        with self._lock:
            now, (held, _) = self._now, self._leases.get(process, (None, False))
            if deadline is not None and (held is None or held < deadline):
                self._leases.pop(process, None)
                return None
            self._lease = lease
            if self._born is None:
                self._born = now
            lapsed = held is not None and held < now
            until = now + int(lease * 1000)
            self._leases[process] = (until, False)
            for other, (ends, resigned) in list(self._leases.items()):
                if ends < now and (resigned or (may_sweep and not lapsed)):
                    del self._leases[other]
            return Lease(until, lapsed, (now - self._born) / 1000, frozenset(self._leases))

    async def resign(self, process: str, *, within: float) -> None:
        with self._lock:
            self._leases[process] = (self._now + int(within * 1000), True)

    # The rosters

    async def write(
        self, group: str, process: str, number: int, holds: Holds, *, limit: int, after: int = 0
    ) -> Written:
        with self._lock:
            roster = self._roster(group)
            last, _ = roster.writes.get(process, (0, 0.0))
            if last > number or last < after:
                return Written("refused" if last > number else "lost", [])
            if last < number:
                roster.writes[process] = (number, self._now)
            self._stamp += 1
            no_room: list[str] = []
            changes: list[Seen] = []
            for key, hold in holds.items():
                if key not in roster.entries and len(roster.entries) >= limit:
                    if hold.live + hold.lingering:
                        no_room.append(key)
                elif (change := roster.hold(key, process, hold, self._stamp)) is not None:
                    changes.append(change)
            self._tell(group, roster, changes)
            return Written("done", no_room, roster.epoch, roster.version)

    async def state(self, group: str, process: str, *, watch: bool) -> State:
        with self._lock:
            roster, now, lease = self._roster(group), self._now, self._lease * 1000
            if watch:
                roster.watched = now + WATCHED * lease
            if (own := roster.writes.get(process)) is not None and own[0] < ENDING:
                roster.writes[process] = (own[0], now)
            stale = []
            for other, (_, confirmed) in list(roster.writes.items()):
                if now - confirmed > EXPIRES * lease:
                    del roster.writes[other]
                elif now - confirmed > STALE * lease:
                    stale.append(other)
            numbers = {other: number for other, (number, _) in roster.writes.items()}
            return State(roster.epoch, roster.version, numbers, frozenset(stale))

    async def page(self, group: str, after: str, count: int, *, of: str = "") -> Page:
        with self._lock:
            roster = self._roster(group)
            keys = sorted(roster.entries, key=str.encode)
            start = bisect_right(keys, after.encode(), key=str.encode)
            looked_at = keys[start : start + count]
            entries = [(key, roster.entries[key]) for key in looked_at]
            members = [entry.seen(key) for key, entry in entries if not of or of in entry.parts]
            end = looked_at[-1] if len(keys) > start + count else None
            return Page(roster.epoch, roster.version, members, end)

    def _roster(self, group: str) -> Roster:
        now = self._now
        if group not in self._rosters:
            age = EXPIRES * self._lease * 1000
            for name, other in list(self._rosters.items()):
                if not other.entries and now - other.written > age:
                    del self._rosters[name]
        roster = self._rosters.setdefault(group, Roster())
        roster.written = now
        return roster

    # Notices

    async def listen(self, group: str, listener: Listener) -> None:
        with self._lock:
            self._listeners[group][listener] = asyncio.get_running_loop()

    def ignore(self, group: str, listener: Listener) -> None:
        with self._lock:
            self._listeners[group].pop(listener, None)
            if not self._listeners[group]:
                del self._listeners[group]

    def when_doubtful(self, look: Callable[[], None]) -> Callable[[], None]:
        return lambda: None  # nothing is ever missed here

    def _tell(self, group: str, roster: Roster, changes: list[Seen]) -> None:
        before = roster.version
        roster.version += len(changes)
        if not changes or roster.watched < self._now:
            return
        notice = Notice(roster.epoch, before, changes)
        for listener, loop in list(self._listeners.get(group, {}).items()):
            if not loop.is_closed():
                loop.call_soon_threadsafe(listener, notice)

    # Info

    def seal(self, group: str, key: str, info: Message, most: int) -> bytes:
        sealed = marshal.dumps(info, PLAIN)
        check_size(sealed, most)
        return sealed

    def unseal(self, group: str, key: str, sealed: bytes) -> Message:
        info: Message = marshal.loads(sealed) if sealed else {}
        return info
