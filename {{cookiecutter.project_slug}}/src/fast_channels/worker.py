"""Runs consumers of named channels in a process of their own: the counterpart of ``runworker``.

Invariants
- A message is acknowledged after its handler has returned, never before.
- A handler that raises gives its message back for another attempt, later each time; after
  ``max_attempts`` it goes to the layer's dead letters.
- What a handler holds is renewed while it runs; when the process dies, its leases end. A handler whose
  lease was lost all the same runs on: its acknowledgement still counts, its failure does not.
- At most ``concurrency`` handlers run at once, and no more messages than that are held.
- Stopping takes no new message, waits up to ``drain_timeout`` for running handlers, then cancels
  them and gives their messages back.
"""

import asyncio
import logging
import random
import signal
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, Self

from .consumer.base import AsyncConsumer, ConsumerApp
from .exceptions import ChannelLayerUnavailable, InvalidChannelLayerError, StopConsumer
from .layers.base import BaseChannelLayer
from .layers.jobs import Delivery, WorkQueue
from .names import check_channel_name
from .utils import is_cancelled

logger = logging.getLogger(__name__)

FIRST_RETRY = 1.0  # seconds before a failed message's second attempt; doubles with each attempt
LONGEST_RETRY = 60.0  # or as long as a lease, if that is shorter

Leased = tuple[Delivery, ConsumerApp]


class NoAttemptEnded(Exception):
    """The reason of a dead letter whose last handlers neither returned nor raised."""


class Worker:
    """Leases messages of the channels in ``routes`` and dispatches each to a new consumer.

    ``routes`` maps a channel name to a consumer class, or to what its ``as_asgi()`` returned. The
    consumer's scope is ``{"type": "channel", "channel": name, "id": str, "attempt": int}``; its own
    ``channel_layer_alias`` chooses the layer on which it answers. ``drain_timeout`` is in seconds.
    """

    def __init__(
        self,
        layer: BaseChannelLayer,
        routes: Mapping[str, type[AsyncConsumer] | ConsumerApp],
        *,
        concurrency: int = 10,
        max_attempts: int = 5,
        drain_timeout: float = 30.0,
    ) -> None:
        if not isinstance(layer, WorkQueue):
            raise InvalidChannelLayerError(
                f"A worker needs a layer that keeps messages until they are acknowledged, such as "
                f"RedisChannelLayer or InMemoryChannelLayer, not {type(layer).__name__}"
            )
        if not routes:
            raise ValueError("A worker needs at least one route from a channel name to a consumer")
        for name, number in (("concurrency", concurrency), ("max_attempts", max_attempts)):
            if number < 1:
                raise ValueError(f"{name} must be at least 1, not {number!r}")
        self._queue: WorkQueue = layer
        self._routes = {name: _as_app(name, target) for name, target in routes.items()}
        self._concurrency = concurrency
        self._max_attempts = max_attempts
        self._drain_timeout = drain_timeout
        self._working: set[asyncio.Task[None]] = set()
        self._renewing: set[asyncio.Task[None]] = set()
        self._handling: dict[asyncio.Task[None], Delivery] = {}
        self._finished = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._working = {asyncio.create_task(self._work(), name="worker")}
        if self._queue.lease_time is not None:
            self._renewing = {asyncio.create_task(self._renew(self._queue.lease_time / 3))}
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await _cancel(self._working)
        if self._handling:
            await asyncio.wait(list(self._handling), timeout=self._drain_timeout)
        await _cancel(self._handling)
        await _cancel(self._renewing)

    async def run(self) -> None:
        """Work until SIGINT or SIGTERM, then drain."""
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, stopped.set)
        try:
            async with self:
                logger.info("Worker takes messages of %s", ", ".join(self._routes))
                await stopped.wait()
                logger.info("Worker stops; %d handler(s) finish first", len(self._handling))
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    async def _work(self) -> None:
        while True:
            while not (free := self._concurrency - len(self._handling)):
                self._finished.clear()
                await self._finished.wait()
            leased = await self._lease(free)
            if not leased:
                await asyncio.sleep(FIRST_RETRY)
            for delivery, app in leased:
                task = asyncio.create_task(self._handle(delivery, app))
                self._handling[task] = delivery
                task.add_done_callback(self._finish)

    async def _lease(self, free: int) -> list[Leased]:
        """Up to ``free`` messages of whichever channels have some first; none if leasing failed."""
        count = max(1, free // len(self._routes))
        leases = {
            asyncio.create_task(self._queue.lease(channel, count)): app
            for channel, app in self._routes.items()
        }
        chosen: list[Leased] = []
        try:
            await asyncio.wait(leases, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leased = await _collect(leases)
            if not is_cancelled():
                if len(leased) > free:  # one of each of too many channels: each gets its turn
                    random.shuffle(leased)
                chosen, leased = leased[:free], leased[free:]
            for delivery, _ in leased:
                await self._release(delivery)
        return chosen

    async def _release(self, delivery: Delivery) -> None:
        try:
            await self._queue.release(delivery)
        except Exception as error:  # the worker goes on
            logger.warning("Message %s is left to its lease: %r", delivery.id, error)

    def _finish(self, task: "asyncio.Task[None]") -> None:
        del self._handling[task]
        self._finished.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A message is left to its lease: %r", error)

    async def _handle(self, delivery: Delivery, app: ConsumerApp) -> None:
        try:
            await self._dispatch(delivery, app)
        except asyncio.CancelledError as error:
            if is_cancelled():
                await self._queue.reject(delivery)
                raise
            await self._failed(delivery, error)  # something that the handler awaited was cancelled
        except Exception as error:
            await self._failed(delivery, error)
        else:
            await self._acknowledge(delivery)

    async def _acknowledge(self, delivery: Delivery) -> None:
        """Tried for as long as the lease lasts, so that a short outage repeats no job that is done."""
        deadline = time.monotonic() + (self._queue.lease_time or 0.0)
        while True:
            try:
                return await self._queue.acknowledge(delivery)
            except ChannelLayerUnavailable:
                if time.monotonic() + FIRST_RETRY > deadline:
                    raise
                await asyncio.sleep(FIRST_RETRY)

    async def _dispatch(self, delivery: Delivery, app: ConsumerApp) -> None:
        if delivery.attempt > self._max_attempts:
            raise NoAttemptEnded("Its workers died, were stopped or lost their leases")
        consumer = app.consumer_class(**app.consumer_initkwargs)
        consumer.scope = {
            "type": "channel",
            "channel": delivery.channel,
            "id": delivery.id,
            "attempt": delivery.attempt,
        }
        consumer.bind_layer()
        with suppress(StopConsumer):
            await consumer.dispatch(delivery.message)

    async def _failed(self, delivery: Delivery, error: BaseException) -> None:
        logger.error(
            "Attempt %d of %d at message %s of %s failed",
            delivery.attempt,
            self._max_attempts,
            delivery.id,
            delivery.channel,
            exc_info=error,
        )
        await self._queue.reject(
            delivery,
            delay=self._delay(delivery.attempt),
            final=delivery.attempt >= self._max_attempts,
            reason=_describe(error),
        )

    def _delay(self, attempt: int) -> float:
        longest = min(LONGEST_RETRY, self._queue.lease_time or LONGEST_RETRY)
        return float(min(FIRST_RETRY * 2 ** (attempt - 1), longest))

    async def _renew(self, interval: float) -> None:
        """Renew what is held, each ``interval`` seconds; but not what was lost."""
        lost: set[asyncio.Task[None]] = set()
        while True:
            await asyncio.sleep(interval)
            held = [(task, one) for task, one in self._handling.items() if task not in lost]
            kept = await asyncio.gather(*(self._renew_one(one) for _, one in held))
            lost.update(task for (task, _), is_kept in zip(held, kept, strict=True) if not is_kept)
            lost &= self._handling.keys()

    async def _renew_one(self, delivery: Delivery) -> bool:
        try:
            kept = await self._queue.renew(delivery)
        except ChannelLayerUnavailable as error:
            logger.warning("The lease of message %s is not renewed: %s", delivery.id, error)
            return True
        if not kept:
            logger.warning("The lease of message %s was lost", delivery.id)
        return kept


def _as_app(name: str, target: type[AsyncConsumer] | ConsumerApp) -> ConsumerApp:
    check_channel_name(name)
    if isinstance(target, ConsumerApp):
        return target
    if isinstance(target, type) and issubclass(target, AsyncConsumer):
        return target.as_asgi()
    raise TypeError(f"The route of channel {name!r} must be a consumer class, not {target!r}")


def _describe(error: BaseException) -> str:
    try:
        return repr(error)
    except Exception:  # of a user's class
        return type(error).__name__


async def _cancel(tasks: Collection["asyncio.Task[None]"]) -> None:
    running = list(tasks)  # those of a worker leave it when they are done
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def _collect(leases: dict["asyncio.Task[list[Delivery]]", ConsumerApp]) -> list[Leased]:
    """What was leased; the other leases are cancelled, which loses nothing."""
    for lease in leases:
        lease.cancel()
    results = await asyncio.gather(*leases, return_exceptions=True)
    leased: list[Leased] = []
    for result, app in zip(results, leases.values(), strict=True):
        if isinstance(result, list):
            leased += [(delivery, app) for delivery in result]
        elif isinstance(result, Exception):
            logger.error("Cannot lease a message; trying again: %r", result)
    return leased
