"""What a group has said: how long it is kept, positions in it, and what a receiver missed.

A position is a short ASCII text that names one event of one group. A receiver keeps the last one that it
got and comes back with it; nobody but the layer reads one. Of a text that is no position, or another
group's, a layer says that it proves nothing: it may come from any client.
"""

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from ..mailbox import Message

POSITION = "layer.position"  # the key of an event's position, in the messages of a joined group
# What one joining brings at most, beside the messages of the moment in which it happens. The size is that
# of messages as they are kept.
MOST_MESSAGES = 1000
MOST_BYTES = 1024 * 1024
MOST_POSITION = 100  # characters


@dataclass(frozen=True, slots=True)
class Joined:
    """What ``join()`` brings.

    ``messages``, the oldest first, are what the group said after ``since``, or its last ``history`` ones.
    Each has its own position under ``POSITION``. None of them is delivered again, and all that come after
    ``position`` will be.

    ``complete`` is True only if nothing that the group said after ``since`` can be missing, and always
    without ``since``. Where it is False the layer kept too little to prove that: ``messages`` are then the
    last ``history`` ones, or fewer if the receiver is known to have some of them.
    """

    messages: list[Message]
    complete: bool
    position: str  # none in a layer that keeps no history


@dataclass(frozen=True, slots=True)
class History:
    """How much of a group is kept: this many messages at least, this many seconds after its last one."""

    messages: int
    seconds: float

    def __post_init__(self) -> None:
        if self.messages < 1 or not 0 < self.seconds < float("inf"):
            raise ValueError(
                f"A History is of at least 1 message and of some seconds above 0, not {self!r}"
            )


class Histories:
    """Group name -> ``History``; ``by_group`` is as a layer's ``group_history``, the first match counts."""

    def __init__(
        self, by_group: Mapping[str | re.Pattern[str], History] | None, otherwise: History
    ) -> None:
        self._patterns = [
            (re.compile(fnmatch.translate(key)) if isinstance(key, str) else key, history)
            for key, history in (by_group or {}).items()
        ]
        self._otherwise = otherwise
        self.of = lru_cache(4096)(self._find) if self._patterns else lambda group: otherwise

    def declared(self, group: str) -> bool:
        """Whether one of the patterns is for this group."""
        return self.of(group) is not self._otherwise

    def _find(self, group: str) -> History:
        for pattern, history in self._patterns:
            if pattern.match(group):
                return history
        return self._otherwise
