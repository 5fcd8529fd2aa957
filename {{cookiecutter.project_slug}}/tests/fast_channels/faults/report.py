"""What a run counted, which counts must be 0, and the table of them."""

import statistics
from dataclasses import dataclass, field

MUST_BE_ZERO = ("lost", "doubled", "reordered", "dropped", "closed", "dead", "errors")


@dataclass
class Result:
    """One case over one layer.

    - `sent`, `accepted`: messages (or jobs); accepted means that the send returned without an error
    - `lost`: accepted messages that at least one socket did not get which was open all the time, or
      accepted jobs that were never done
    - `doubled`, `reordered`: frames that came twice, or after a later one of the same sender;
      or jobs that were done again
    - `dropped`: messages that found a consumer's mailbox full, as the layer counted them
    - `gaps`: gap events that sockets received
    - `closed`: sockets that closed, of listeners and senders
    - `dead`: jobs in the dead letters
    - `errors`: tracebacks in the logs of web processes and workers
    - `recovery`: per round, seconds from the end of the fault until everybody received again;
      in `failover` and `worker` the fault is the kill, and ends at once
    """

    case: str
    layer: str
    allowed: frozenset[str] = frozenset()
    sent: int = 0
    accepted: int = 0
    lost: int = 0
    doubled: int = 0
    reordered: int = 0
    dropped: int = 0
    gaps: int = 0
    closed: int = 0
    dead: int = 0
    errors: int = 0
    recovery: list[float] = field(default_factory=list)

    @property
    def delivered(self) -> int:
        """Accepted messages that each socket got."""
        return self.accepted - self.lost

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept, in words; empty if all were."""
        return [
            f"{self.case}, {self.layer}: {name} is {getattr(self, name)}, not 0"
            for name in MUST_BE_ZERO
            if name not in self.allowed and getattr(self, name)
        ]

    def cells(self) -> list[str]:
        """A line of the table."""
        return [
            self.case,
            self.layer,
            str(len(self.recovery)),
            *(str(getattr(self, name)) for name in COUNTS),
            f"{statistics.median(self.recovery):.2f}",
            f"{max(self.recovery):.2f}",
        ]


COUNTS = ["sent", "accepted", "delivered", *MUST_BE_ZERO, "gaps"]
HEADINGS = ["case", "layer", "rounds", *COUNTS, "median s", "max s"]


def table(results: list[Result]) -> str:
    rows = [HEADINGS, *(result.cells() for result in results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if n < 2 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
