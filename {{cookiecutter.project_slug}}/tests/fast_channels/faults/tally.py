"""What came of numbered messages. No I/O.

Each sender numbers its messages from 1 and waits for the answer to one before it sends the next, so
what it was told to be accepted must arrive in the order of the numbers.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Sent:
    """One sender's side: the last numbers that it sent and that were accepted, and those refused."""

    last: int = 0
    last_accepted: int = 0
    refused: set[int] = field(default_factory=set)

    @property
    def accepted(self) -> int:
        return self.last - len(self.refused)


@dataclass(slots=True)
class Track:
    """What one socket received from one sender; small, however many messages there are."""

    highest: int = 0
    missing: set[int] = field(default_factory=set)  # below `highest`
    late: list[int] = field(default_factory=list)  # came after a higher number
    doubled: int = 0

    def add(self, number: int) -> None:
        if number > self.highest:
            self.missing.update(range(self.highest + 1, number))
            self.highest = number
        elif number in self.missing:
            self.missing.discard(number)
            self.late.append(number)
        else:
            self.doubled += 1

    def lost(self, sent: Sent) -> set[int]:
        """What was accepted and did not come."""
        return (self.missing | set(range(self.highest + 1, sent.last + 1))) - sent.refused

    def is_behind(self, sent: Sent) -> bool:
        """Whether the last accepted messages have not come."""
        return any(number > self.highest for number in self.lost(sent))

    def reordered(self, sent: Sent) -> int:
        """What was accepted and came late; a refused message has no place in the order."""
        return len([number for number in self.late if number not in sent.refused])
