"""What a listener remembers of the logs it follows, to read on after a broken connection. No I/O.

Invariants
- Nothing is handed out twice: ``Seen`` knows the uids of the last ``SEEN_SECONDS``, longer than a
  sender repeats a message and longer than ``OVERLAP``.
- Nothing is left out: after a reconnection a listener reads from ``OVERLAP`` before the newest entry
  it knows. A new primary after a failover may lack the last entries of the old one and go on with
  ids below theirs, but never below the newest entry that it has, and that one is younger than the
  replication lag, for which ``OVERLAP`` is generous.
- A notification may name the entry before its own; a listener that does not know that one reads from
  the log before it goes on. One that is older than what it knows was read from the log before.
- Nothing older than the joining is handed out: a listener never reads behind ``joined``.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

OVERLAP = 5.0  # seconds
SEEN_SECONDS = 30.0
SEEN_MAX = 50_000  # uids that are remembered if they come within that time; twice as many at most

EntryId = bytes  # b"<milliseconds>-<number>"
BEGINNING: EntryId = b"0-0"


def parse_id(entry: EntryId) -> tuple[int, int]:
    milliseconds, _, number = entry.partition(b"-")
    return int(milliseconds), int(number)


def is_later(one: EntryId, other: EntryId) -> bool:
    if len(one) == len(other) > len(b"1700000000000-"):  # times of one length, so numbers too
        return one > other
    return parse_id(one) > parse_id(other)


@dataclass
class Position:
    """Where a listener is in one topic's log."""

    joined: EntryId
    last: EntryId
    recovering: bool = False
    missed: bool = False  # something was published while recovering

    def resume_from(self) -> str:
        """The start of the XRANGE that misses nothing."""
        joined, last = parse_id(self.joined), parse_id(self.last)
        start = max((last[0] - int(OVERLAP * 1000), 0), joined)
        return f"({start[0]}-{start[1]}" if start == joined else f"{start[0]}-{start[1]}"

    def misses(self, before: bytes) -> bool:
        """Whether the notification's entry is not the one that follows; ``b"-"`` says nothing."""
        return before != b"-" and is_later(before, self.last)

    def advance(self, entry: EntryId) -> None:
        if is_later(entry, self.last):
            self.last = entry


class Seen:
    """The uids of the messages that were handed out lately, as numbers.

    There are two generations, of which the older one is dropped when the newer one has been filled for
    ``SEEN_SECONDS``, or with ``SEEN_MAX`` uids, some 5 MB.
    """

    def __init__(self) -> None:
        self._newer: set[int] = set()
        self._older: set[int] = set()
        self._turn_at = time.monotonic() + SEEN_SECONDS

    def add(self, uids: Sequence[int]) -> Sequence[int]:
        """Those that were not added before; ``uids`` itself if that is all of them."""
        now = time.monotonic()
        if now >= self._turn_at or len(self._newer) >= SEEN_MAX:
            self._older, self._newer = self._newer, set()
            self._turn_at = now + SEEN_SECONDS
        newer, older = self._newer, self._older
        if not (newer.isdisjoint(uids) and older.isdisjoint(uids)):
            uids = [uid for uid in uids if uid not in newer and uid not in older]
        newer.update(uids)
        return uids
