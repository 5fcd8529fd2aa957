"""Work queues: named channels whose messages are leased, then acknowledged.

At least once: a delivery that is neither acknowledged nor rejected, because its worker died, is
leased again to another worker. Layers that can promise this derive from ``WorkQueue``.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ..mailbox import Message


@dataclass(frozen=True, slots=True)
class Delivery:
    """One lease of one message.

    ``id`` is the same at each delivery of the message, so that a handler can be idempotent.
    ``attempt`` counts from 1. ``receipt`` is the layer's own name of the lease.
    """

    channel: str
    message: Message
    id: str
    attempt: int
    receipt: str = ""


@runtime_checkable
class WorkQueue(Protocol):
    """What a worker needs of a layer. A lease lasts ``lease_time`` seconds; None: for ever."""

    lease_time: float | None

    async def lease(self, channel: str, count: int = 1) -> list[Delivery]:
        """Wait for at least one message of ``channel`` and take up to ``count`` of them."""
        ...

    async def acknowledge(self, delivery: Delivery) -> None:
        """The message is dealt with and never delivered again."""
        ...

    async def renew(self, delivery: Delivery) -> None:
        """Let the lease last ``lease_time`` from now."""
        ...

    async def release(self, delivery: Delivery) -> None:
        """Give back, at once, a message that no handler has seen: not counted as an attempt."""
        ...

    async def reject(self, delivery: Delivery, *, delay: float = 0.0, final: bool = False) -> None:
        """Give the message back for an attempt in ``delay`` seconds, or to the dead letters."""
        ...
