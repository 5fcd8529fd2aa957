"""A roster as one process knows it, kept up to date by notices and read again where one may be missing.

Invariants
- ``hear`` and ``finish`` return what they change, as changes from the state before to the state after:
  however notices and pages overlap, a key that is there does not join and one that is not does not leave.
- A notice that does not follow what was heard before is not applied: the roster has to be read again.
- Pages are read one after the other, and each stands for the roster at its own version. A notice changes
  a key only if it is younger than the page in which the key was looked for.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable
from typing import Literal

from ..exceptions import ChannelLayerUnavailable
from .rosters import Notice, Page, Seen

MOST_HELD = 2_000  # changes that come while pages are read

# What somebody has to be told who knows the state before; a key that has left is as it was.
Change = tuple[Literal["joined", "updated", "left"], Seen]


class Mirror:
    """``same_info`` says whether two different sealed infos of a key are the same one."""

    def __init__(self, same_info: Callable[[Seen, Seen], bool]) -> None:
        self._same_info = same_info
        self.members: dict[str, Seen] = {}
        self.ready = False  # has been read
        self.epoch = b""
        self.version = 0
        self._ends: list[bytes] = []  # of the pages, and their versions
        self._versions: list[int] = []
        self._held: list[Notice] | None = None  # while it is read
        self._space = 0
        self.written = (b"", 0)  # the epoch and version that have what this process wrote last
        self.shows_written = asyncio.Event()  # and has been read

    def expect(self, epoch: bytes, version: int) -> None:
        """This was written now: its notices are to come, if it is of this epoch."""
        self.written = (epoch, version)
        self._look()

    def _look(self) -> None:
        epoch, version = self.written
        if epoch == self.epoch and version > self.version:
            self.shows_written.clear()
        elif self.ready:
            self.shows_written.set()

    def begin(self) -> None:
        """Pages are being read: what is heard from now on is held until ``finish``, or ``abandon``."""
        self._held, self._space = [], MOST_HELD

    def abandon(self) -> None:
        """All stays as it was before, but for what was heard since: it has to be read again."""
        self._held = None

    def finish(self, pages: list[Page]) -> tuple[list[Change], bool]:
        """The changes, and False if the roster has to be read again."""
        held, self._held = self._held or [], None
        first = pages[0]
        if any(page.epoch != first.epoch for page in pages):
            raise ChannelLayerUnavailable("A group was emptied while its members were read")
        self.ready, self.epoch, self.version = True, first.epoch, first.version
        self._ends = [page.end.encode() for page in pages if page.end is not None]
        self._versions = [page.version for page in pages]
        old = self.members
        self.members = {member.key: member for page in pages for member in page.members}
        changes: list[Change] = [("left", old[key]) for key in old if key not in self.members]
        for key, seen in self.members.items():
            changes += self._change(old.get(key), seen)
        complete = self._space > 0
        self.expect(b"", 0)  # all that was confirmed before this reading is in it
        for notice in held:
            heard = self.hear(notice)
            complete = complete and heard is not None
            changes += heard or []
        return changes, complete

    def hear(self, notice: Notice) -> list[Change] | None:
        """The changes; None if the roster has to be read again."""
        if self._held is not None:
            self._space -= len(notice.changes)
            if self._space > 0:
                self._held.append(notice)
            return []
        if notice.epoch != self.epoch or notice.version > self.version:
            return None
        changes: list[Change] = []
        for version, seen in enumerate(notice.changes, start=notice.version + 1):
            if version > self.version:
                self.version = version
                if version > self._read_at(seen.key):
                    changes += self.show(seen)
        self._look()
        return changes

    def _read_at(self, key: str) -> int:
        """The version at which the key was last looked for."""
        return self._versions[bisect_left(self._ends, key.encode())]

    def show(self, seen: Seen) -> list[Change]:
        """Take a key as it is now; returns the change, if there is one."""
        known = self.members.pop(seen.key, None)
        if seen.connections:
            self.members[seen.key] = seen
        return self._change(known, seen)

    def _change(self, known: Seen | None, seen: Seen) -> list[Change]:
        if known is None:
            return [("joined", seen)] if seen.connections else []
        if not seen.connections:
            return [("left", known)]
        same = seen.connections == known.connections and self._same_info(seen, known)
        return [] if same or seen == known else [("updated", seen)]
