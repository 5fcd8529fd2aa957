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
        self._ends: list[bytes] = []  # of the pages, and their versions
        self._versions: list[int] = []
        self._pages: list[Page] | None = None  # while it is read
        self._held: list[Notice] = []
        self._room = MOST_HELD

    @property
    def reading(self) -> bool:
        return self._pages is not None

    def lacks(self, epoch: bytes, version: int) -> bool:
        """Whether notices up to this version are still to be heard; of another epoch none will be."""
        return epoch == self.epoch and version > self.version

    def show(self, member: Seen) -> list[Change]:
        """Take in a key that is not known, and that is surely there; returns the change."""
        self.members[member.key] = member
        return [Change("joined", *member)]

    def begin(self) -> None:
        """What is heard from now on is held until ``finish``."""
        self._pages = []
        self._held, self._room = [], MOST_HELD

    def add(self, page: Page) -> bool:
        """Take the next page; False if it is of another roster than the ones before."""
        if self._pages is None or any(other.epoch != page.epoch for other in self._pages[-1:]):
            return False
        self._pages.append(page)
        return True

    def abandon(self) -> None:
        """All stays as it was before, but for what was heard since: it has to be read again."""
        self._pages = None
        self._held = []

    def finish(self) -> tuple[list[Change], bool]:
        """The changes, and False if the roster has to be read again."""
        pages = self._pages
        if not pages:
            raise RuntimeError("finish() needs begin() and a page before it")
        held, complete = self._held, self._room > 0
        self.abandon()
        self.ready = True
        self.epoch, self.version = pages[0].epoch, pages[0].version
        self._ends = [page.end.encode() for page in pages if page.end is not None]
        self._versions = [page.version for page in pages]
        old = self.members
        self.members = {member.key: member for page in pages for member in page.members}
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
