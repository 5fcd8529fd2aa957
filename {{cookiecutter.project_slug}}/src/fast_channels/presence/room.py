"""What one process knows of one group, and the lines in which groups wait for their turn. It does nothing."""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from .holdings import Holdings
from .mirror import Mirror
from .rosters import Listener

SHORTEST_PAUSE = 0.1  # seconds before a step is tried again


@dataclass(eq=False, slots=True)
class Room:
    """What this process knows of one group. ``listener`` has the roster's notices, while it listens."""

    group: str
    listener: Listener | None = None
    holdings: Holdings = field(default_factory=Holdings)
    number: int = 0  # of the last write under the present id that was confirmed
    settled: "dict[str, list[asyncio.Future[None]]]" = field(default_factory=dict)  # by key
    watchers: dict[str, None] = field(default_factory=dict)  # channels, in order
    interest: int = 0  # callers that wait for the mirror
    mirror: Mirror | None = None
    wrote: tuple[bytes, int] = (b"", 0)  # epoch and version with our last confirmed write
    mirrored: asyncio.Event = field(default_factory=asyncio.Event)  # it is read, and shows that
    listening: bool = False
    check: bool = False
    compare: bool = False
    read: bool = False
    rereading: asyncio.TimerHandle | None = None
    busy: bool = False  # in the queue, or worked on, or waiting for its next attempt
    pause: float = SHORTEST_PAUSE
    check_at: float = 0.0
    read_at: float = 0.0
    used_at: float = 0.0

    @property
    def work(self) -> bool:
        deaf = self.mirror is not None and not self.listening
        return bool(self.holdings.dirty) or deaf or self.check or self.compare or self.read

    def look_at_mirror(self) -> None:
        """Whoever watches from now on waits until it shows what was written."""
        if (mirror := self.mirror) is not None and mirror.ready:
            if mirror.lacks(*self.wrote):
                self.mirrored.clear()
            else:
                self.mirrored.set()

    @property
    def in_use(self) -> bool:
        return bool(self.holdings.keys or self.watchers or self.interest or self.work or self.busy)


class Lane:
    """Rooms whose turn comes, and at most so many workers that give it to them."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.waiting: deque[Room] = deque()
        self.workers: set[asyncio.Task[None]] = set()
