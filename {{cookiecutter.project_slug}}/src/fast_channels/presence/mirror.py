"""A roster as one process knows it, kept up to date by notices and read again where one may be missing.

Invariants
- ``hear`` and ``finish`` return what they change, as changes from the state before to the state after:
  however notices and pages overlap, a key that is there does not join and one that is not does not leave.
- A notice that does not follow what was heard before is not applied: the roster has to be read again.
- Pages are read one after the other, and each stands for the roster at its own version. A notice changes
  a key only if it is younger than the page in which the key was looked for.
"""

from bisect import bisect_left
from collections.abc import Callable

from .rosters import Change, Notice, Page, Seen

MOST_HELD = 2_000  # changes that come while pages are read


class Mirror:
    """``same_info`` says whether two different sealed infos of a key are the same one."""

    def __init__(self, same_info: Callable[[Seen, Seen], bool]) -> None:
        self._same_info = same_info
        self.members: dict[str, Seen] = {}
        self.ready = False  # has been read
        self.epoch = b""
        self.version = 0
        self._new: dict[str, Seen] | None = None  # while it is read
        self._ends: list[bytes] = []  # of the pages, and their versions
        self._versions: list[int] = []
        self._last: Page | None = None
        self._held: list[Notice] = []
        self._room = MOST_HELD

    @property
    def reading(self) -> bool:
        return self._new is not None

    def begin(self) -> None:
        """What is heard from now on is held until ``finish``."""
        self._new = {}
        self._ends, self._versions, self._last = [], [], None
        self._held, self._room = [], MOST_HELD

    def add(self, page: Page) -> bool:
        """Take the next page; False if it is of another roster than the ones before."""
        if self._new is None or (self._last is not None and self._last.epoch != page.epoch):
            return False
        self._new.update((member.key, member) for member in page.members)
        if page.end is not None:
            self._ends.append(page.end.encode())
        self._versions.append(page.version)
        self._last = page
        return True

    def abandon(self) -> None:
        self._new = None
        self._held = []

    def finish(self) -> tuple[list[Change], bool]:
        """The changes, and False if the roster has to be read again."""
        if self._new is None or self._last is None:
            raise RuntimeError("finish() needs begin() and a page before it")
        old, self.members = self.members, self._new
        held, complete = self._held, self._room > 0
        self.abandon()
        self.ready = True
        self.epoch, self.version = self._last.epoch, self._versions[0]
        changes = self._differences(old, self.members)
        for notice in held:
            heard = self.hear(notice)
            complete = complete and heard is not None
            changes += heard or []
        return changes, complete

    def hear(self, notice: Notice) -> list[Change] | None:
        """The changes; None if the roster has to be read again."""
        if self.reading:
            self._room -= len(notice.changes)
            if self._room > 0:
                self._held.append(notice)
            return []
        if notice.epoch != self.epoch or notice.version > self.version:
            return None
        changes = []
        for version, change in enumerate(notice.changes, start=notice.version + 1):
            if version > self.version:
                self.version = version
                if version > self._read_at(change.key):
                    changes += self._apply(change)
        return changes

    def _read_at(self, key: str) -> int:
        """The version at which the key was last looked for."""
        return self._versions[bisect_left(self._ends, key.encode())]

    def _apply(self, change: Change) -> list[Change]:
        key = change.key
        before = {key: self.members[key]} if key in self.members else {}
        after = {} if change.kind == "left" else {key: Seen(*change[1:])}
        self.members.pop(key, None)
        self.members.update(after)
        return self._differences(before, after)

    def _differences(self, before: dict[str, Seen], after: dict[str, Seen]) -> list[Change]:
        """What has to be told to somebody who knows ``before``; those who left first."""
        changes = [Change("left", *one) for key, one in before.items() if key not in after]
        for key, one in after.items():
            known = before.get(key)
            if known is None:
                changes.append(Change("joined", *one))
            elif not self._same(one, known):
                changes.append(Change("updated", *one))
        return changes

    def _same(self, one: Seen, other: Seen) -> bool:
        if one == other:
            return True
        return one.connections == other.connections and self._same_info(one, other)
