"""Jobs: messages of named channels that a worker leases, then acknowledges or gives up.

At least once: a delivery that is neither acknowledged nor rejected, because its worker died, is leased
again to another worker. A layer that can promise this is a ``WorkQueue``; one whose jobs an operator can
look into, an ``InspectableWorkQueue``.

A worker that has lost a lease
- may still acknowledge: the work is done, so the job goes, although another worker has it now;
- has no other say: ``renew``, ``release`` and ``reject`` do nothing to the new holder's lease.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from ..exceptions import ChannelFull, UndecodableMessage
from ..mailbox import Message

REASON_LENGTH = 500  # characters of a dead letter's reason that are kept


class Delivery(NamedTuple):  # one for each lease: made in half the time of a frozen dataclass
    """One lease of one job.

    ``id`` is the same at each delivery of the job, so that a handler can be idempotent.
    ``attempt`` counts from 1. ``receipt`` is the layer's own name of the job.
    """

    channel: str
    message: Message
    id: str
    attempt: int
    receipt: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that was given up.

    ``id`` is the one that its deliveries had. ``message`` is None if it cannot be decoded.
    ``attempts`` is how often it was delivered, ``reason`` why it was given up, ``at`` when, in
    seconds since 1970. ``receipt`` is the layer's own name of the letter.
    """

    id: str
    message: Message | None
    attempts: int
    reason: str
    at: float
    receipt: str

    def decoded(self) -> Message:
        """``message``, or ``UndecodableMessage``."""
        if self.message is None:
            raise UndecodableMessage(f"Dead letter {self.id} cannot be decoded: {self.reason}")
        return self.message


@dataclass(frozen=True, slots=True)
class Depth:
    """Numbers of jobs. What waits for another attempt after a failure counts as leased."""

    waiting: int
    leased: int
    dead: int


@runtime_checkable
class WorkQueue(Protocol):
    """What a worker needs of a layer. A lease lasts ``lease_time`` seconds; None: for ever."""

    lease_time: float | None

    async def lease(self, channel: str, count: int = 1) -> list[Delivery]:
        """Wait for at least one job of ``channel`` and take up to ``count`` of them."""
        ...

    async def acknowledge(self, *deliveries: Delivery) -> None:
        """The jobs are dealt with and never delivered again."""
        ...

    async def renew(self, delivery: Delivery) -> bool:
        """Let the lease last ``lease_time`` from now; False if it was lost."""
        ...

    async def release(self, delivery: Delivery) -> None:
        """Give back, at once, a job that no handler has seen: not counted as an attempt."""
        ...

    async def reject(
        self, delivery: Delivery, *, delay: float = 0.0, final: bool = False, reason: str = ""
    ) -> None:
        """Give the job back for an attempt in ``delay`` seconds, of which there may be more than a
        lease has; or, if this was the ``final`` one, to the dead letters with the ``reason``, of which
        500 characters are kept. A delay lets no job outlive its expiry.
        """
        ...


@runtime_checkable
class InspectableWorkQueue(WorkQueue, Protocol):
    """What an operator needs of a layer."""

    async def depth(self, channel: str) -> Depth:
        """How much there is to do."""
        ...

    async def dead_letters(
        self, channel: str, count: int = 100, after: str = ""
    ) -> list[DeadLetter]:
        """Up to ``count`` letters, the oldest first; with ``after``, those younger than the letter
        with that receipt.
        """
        ...

    async def replay(self, channel: str, letter: DeadLetter) -> bool:
        """Move ``letter.message`` back into the channel, in one step, under its id and as if it had
        not been tried yet. False if the letter is not there any more.

        ``ChannelFull`` and ``UndecodableMessage`` (its ``message`` is None) leave it where it is.
        """
        ...

    async def discard(self, channel: str, letter: DeadLetter) -> bool:
        """Delete a letter; False if it is not there any more."""
        ...


def shortened(reason: str) -> str:
    return reason if len(reason) <= REASON_LENGTH else reason[: REASON_LENGTH - 1] + "…"


def channel_full(channel: str, capacity: int) -> ChannelFull:
    return ChannelFull(f"Channel {channel} holds {capacity} unread messages")
