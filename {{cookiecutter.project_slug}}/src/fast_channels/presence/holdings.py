"""What one process holds: which of its connections are which key of which group, and which left lately.

Invariants
- A connection is at most one key in a group; a key is held while it has a connection, or one that left
  less than ``grace`` seconds ago. A connection that comes takes the place of one that left.
- ``dirty`` names each key of which the roster may have been told something else.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

from ..mailbox import Message
from .rosters import Hold


class Info(NamedTuple):
    """What a connection says of itself, and the bytes that go into the roster."""

    message: Message
    sealed: bytes


@dataclass(slots=True)
class Holding:
    """One key of a group. The info is that of the connection that said it last."""

    connections: dict[str, Info] = field(default_factory=dict)  # by channel
    lingering: list[float] = field(default_factory=list)  # until when, the first one first
    info: Info | None = None
    fresh: bool = False

    def enter(self, channel: str, info: Info) -> None:
        if self.connections.pop(channel, None) is None and self.lingering:
            self.lingering.pop(0)
        if self.info is None or self.info.message != info.message:
            self.info = info  # else sealed already: it may look different each time
        self.connections[channel] = self.info
        self.fresh = True

    def leave(self, channel: str, until: float | None) -> None:
        del self.connections[channel]
        if self.connections:
            self.info = list(self.connections.values())[-1]
        if until is not None:
            self.lingering.append(until)

    def hold(self) -> Hold:
        sealed = b"" if self.info is None else self.info.sealed
        return Hold(len(self.connections), len(self.lingering), sealed, self.fresh)


@dataclass(slots=True)
class Holdings:
    """Those of one group."""

    keys: dict[str, Holding] = field(default_factory=dict)
    key_of: dict[str, str] = field(default_factory=dict)  # of a channel
    dirty: dict[str, None] = field(default_factory=dict)  # a set in order

    def enter(self, channel: str, key: str, info: Info) -> None:
        self.keys.setdefault(key, Holding()).enter(channel, info)
        self.key_of[channel] = key
        self.dirty[key] = None

    def leave(self, channel: str, until: float | None) -> str | None:
        """Returns the key, if the channel was one; it lingers until that time, if there is one."""
        key = self.key_of.pop(channel, None)
        if key is not None:
            self.keys[key].leave(channel, until)
            self._tidy(key)
        return key

    def expire(self, key: str, now: float) -> None:
        """Those that left before have had their grace."""
        if (holding := self.keys.get(key)) is not None:
            remaining = [until for until in holding.lingering if until > now]
            if len(remaining) < len(holding.lingering):
                holding.lingering = remaining
                self._tidy(key)

    def written(self, key: str) -> None:
        """It is being told to the roster."""
        self.dirty.pop(key, None)
        if (holding := self.keys.get(key)) is not None:
            holding.fresh = False

    def unwritten(self, key: str, fresh: bool) -> None:
        """Nobody knows whether that was done."""
        self.dirty[key] = None
        if (holding := self.keys.get(key)) is not None:
            holding.fresh = holding.fresh or fresh

    def drop(self, key: str) -> None:
        """Nobody here is the key any more, and nobody has been told so."""
        for channel in self.keys.pop(key, Holding()).connections:
            del self.key_of[channel]

    def hold(self, key: str) -> Hold:
        holding = self.keys.get(key)
        return Hold(0, 0, b"") if holding is None else holding.hold()

    def _tidy(self, key: str) -> None:
        holding = self.keys[key]
        self.dirty[key] = None
        if not holding.connections and not holding.lingering:
            del self.keys[key]


class Deadlines:
    """When what is to be looked at, by group and key."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str, str]] = []

    def add(self, at: float, group: str, key: str) -> None:
        heappush(self._heap, (at, group, key))

    @property
    def next(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[tuple[str, str]]:
        while self._heap and self._heap[0][0] <= now:
            _, group, key = heappop(self._heap)
            yield group, key
