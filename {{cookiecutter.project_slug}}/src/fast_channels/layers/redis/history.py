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
from collections import deque
from dataclasses import dataclass

OVERLAP = 5.0  # seconds
SEEN_SECONDS = 30.0
SEEN_MAX = 50_000  # uids; about 10 MB

EntryId = tuple[int, int]
BEGINNING: EntryId = (0, 0)


def parse_id(text: bytes) -> EntryId:
    milliseconds, _, number = text.partition(b"-")
    return int(milliseconds), int(number)


@dataclass
class Position:
    """Where a listener is in one topic's log."""

    joined: EntryId
    last: EntryId
    recovering: bool = False
    missed: bool = False  # something was published while recovering

    def resume_from(self) -> str:
        """The start of the XRANGE that misses nothing."""
        start = max((self.last[0] - int(OVERLAP * 1000), 0), self.joined)
        return f"({start[0]}-{start[1]}" if start == self.joined else f"{start[0]}-{start[1]}"

    def misses(self, before: bytes) -> bool:
        """Whether the notification's entry is not the one that follows; ``b"-"`` says nothing."""
        return before != b"-" and parse_id(before) > self.last

    def advance(self, entry: EntryId) -> None:
        self.last = max(self.last, entry)


class Seen:
    """The uids of the messages that were handed out lately."""

    def __init__(self) -> None:
        self._uids: set[bytes] = set()
        self._order: deque[tuple[float, bytes]] = deque()

    def add(self, uid: bytes) -> bool:
        """False if the uid was added before."""
        if uid in self._uids:
            return False
        now = time.monotonic()
        self._uids.add(uid)
        self._order.append((now, uid))
        while self._order[0][0] < now - SEEN_SECONDS or len(self._order) > SEEN_MAX:
            self._uids.discard(self._order.popleft()[1])
        return True
