"""What the worker's tests share: a layer that keeps a record, a job that waits, a way to fail."""

import asyncio
from typing import Any

from fast_channels.consumer import AsyncConsumer
from fast_channels.layers import BaseChannelLayer, DeadLetter, Delivery, InMemoryChannelLayer

from .expect import eventually


class Ledger(InMemoryChannelLayer):
    """Keeps a record of what the worker says about each message; a retry comes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.acknowledged: list[int] = []
        self.rejected: list[tuple[float, bool]] = []

    async def acknowledge(self, *deliveries: Delivery) -> None:
        self.acknowledged += [delivery.message["number"] for delivery in deliveries]
        await super().acknowledge(*deliveries)

    async def reject(
        self, delivery: Delivery, *, delay: float = 0.0, final: bool = False, reason: str = ""
    ) -> None:
        self.rejected.append((delay, final))
        await super().reject(delivery, final=final, reason=reason)

    async def buried(self, count: int = 1) -> list[DeadLetter]:
        """The dead letters, when there are so many."""
        await eventually(lambda: len(self._dead.get("jobs", ())) == count, "the dead letter")
        return await self.dead_letters("jobs")


class Job(AsyncConsumer):
    """Notes each job it starts and ends; waits at the gate between the two."""

    def __init__(self, started: list[int], ended: list[int], gate: asyncio.Event) -> None:
        self.started, self.ended, self.gate = started, ended, gate

    async def job(self, message: dict[str, Any]) -> None:
        self.started.append(message["number"])
        await self.gate.wait()
        self.ended.append(message["number"])


class Bench:
    """A job route with what its consumers noted."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.ended: list[int] = []
        self.gate = asyncio.Event()
        self.app = Job.as_asgi(started=self.started, ended=self.ended, gate=self.gate)


async def put(layer: BaseChannelLayer, count: int, channel: str = "jobs") -> None:
    for number in range(count):
        await layer.send(channel, {"type": "job", "number": number})


async def put_after(layer: InMemoryChannelLayer, attempts: int) -> None:
    """One job, given back so many times."""
    await put(layer, 1)
    for _ in range(attempts):
        (delivery,) = await layer.lease("jobs")
        await layer.reject(delivery)


def raising(error: BaseException) -> type[AsyncConsumer]:
    async def job(self: AsyncConsumer, message: dict[str, Any]) -> None:
        raise error

    return type("Raising", (AsyncConsumer,), {"job": job})
