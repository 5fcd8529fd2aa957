"""Runs the consumers of jobs, in a process of their own: the counterpart of ``runworker``.

Of a layer it knows what ``WorkQueue`` says, of sockets nothing.

Invariants
- A job is acknowledged after its handler has returned, never before.
- A job whose handler raises is given back for another attempt, later each time; after ``max_attempts`` it
  goes to the layer's dead letters.
- The lease of a job is renewed while its handler runs; when the process dies, its leases end. A handler
  whose lease was lost all the same runs on: its acknowledgement still counts, its failure does not.
- Handlers begin in the order in which their jobs were leased, each in a task of its own, at most
  ``concurrency`` at once. At most ``MOST_HELD`` times as many jobs are held, until the layer has confirmed
  what became of them.
- Stopping takes no new job, waits up to ``drain_timeout`` for running handlers, then cancels them and
  gives their jobs back; also that of a handler which goes on for ``CANCEL_TIMEOUT`` all the same and is
  left behind: nothing waits for its task, not even ``asyncio.run``.
"""

import asyncio
import logging
import math
import random
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, Self

from .consumer.base import AsyncConsumer, ConsumerApp
from .exceptions import ChannelLayerUnavailable, InvalidChannelLayerError, StopConsumer
from .layers.base import BaseChannelLayer
from .layers.jobs import Delivery, WorkQueue
from .mailbox import Message
from .names import check_channel_name
from .tasks import cancel_and_wait, is_cancelled

logger = logging.getLogger(__name__)

FIRST_RETRY = 1.0  # seconds before a failed job's second attempt; doubles with each attempt
LONGEST_RETRY = 60.0
MOST_HELD = 10  # jobs for each handler that may run
CANCEL_TIMEOUT = 4.0  # seconds for a cancelled handler; after half of them it is cancelled again


@dataclass(eq=False, slots=True)
class Job:
    """One lease of a job. Compared by identity: the same job, leased again, is another one."""

    delivery: Delivery


class NoAttemptEnded(Exception):
    """The reason of a dead letter whose last handlers neither returned nor raised."""


@dataclass(eq=False, repr=False)
class Worker:
    """Leases jobs of the channels in ``routes`` and dispatches each to a new consumer.

    ``routes`` maps a channel name to a consumer class, or to what its ``as_asgi()`` returned. The
    consumer's scope is ``{"type": "channel", "channel": name, "id": str, "attempt": int}``; its own
    ``channel_layer_alias`` chooses the layer on which it answers. ``drain_timeout`` is in seconds;
    stopping takes at most 4 s more, and what the layer takes to confirm.

    ``on_dead`` is awaited with the message and the error before a message becomes a dead letter, so that
    an app can tell whoever waits. ``ChannelLayerUnavailable`` has it tried again later; what else it
    raises is logged.
    """

    layer: BaseChannelLayer
    routes: Mapping[str, type[AsyncConsumer] | ConsumerApp]
    _: KW_ONLY
    concurrency: int = 10
    max_attempts: int = 5
    drain_timeout: float = 30.0
    on_dead: Callable[[Message, BaseException], Awaitable[None]] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.layer, WorkQueue):
            raise InvalidChannelLayerError(
                f"A worker needs a layer that keeps messages until they are acknowledged, such as "
                f"RedisChannelLayer or InMemoryChannelLayer, not {type(self.layer).__name__}"
            )
        if not self.routes:
            raise ValueError("A worker needs at least one route from a channel name to a consumer")
        for name in ("concurrency", "max_attempts"):
            if (number := getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1, not {number!r}")
        self._queue: WorkQueue = self.layer
        self._routes = {name: _as_app(name, target) for name, target in self.routes.items()}
        self._held: set[Job] = set()  # those whose lease is ours
        self._running: dict[Job, asyncio.Task[None]] = {}
        self._settling: set[asyncio.Task[None]] = set()  # acknowledging, or giving back
        self._handled: list[Job] = []  # in this turn of the loop
        self._freed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._stop_at = math.inf  # finite: stopping, and no acknowledgement is tried again then
        self._working = [asyncio.create_task(self._work(), name="worker")]
        if self._queue.lease_time is not None:
            self._working.append(asyncio.create_task(self._renew(self._queue.lease_time / 3)))
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        self._stop_at = time.monotonic() + self.drain_timeout
        try:
            await cancel_and_wait(self._working[:1])
            if self._running:
                await asyncio.wait(self._running.values(), timeout=self.drain_timeout)
                await self._cancel_handlers()
            if self._settling:
                patience = self._queue.lease_time or CANCEL_TIMEOUT
                await asyncio.wait(self._settling, timeout=patience)
            await cancel_and_wait(self._working)
        finally:  # cancelled here: in a hurry
            for task in (*self._working, *self._running.values()):
                task.cancel()

    async def _cancel_handlers(self) -> None:
        handlers = list(self._running.values())
        for task in await cancel_and_wait(handlers, CANCEL_TIMEOUT, again=CANCEL_TIMEOUT / 2):
            # asyncio.run then does not wait for it (Python's documentation: Extending asyncio), nor is it
            # logged that it goes with its loop, for which nothing is documented.
            asyncio._unregister_task(task)
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        for job in list(self._running):
            self._reject(job)

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
                logger.info("Worker stops; %d handler(s) finish first", len(self._running))
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    # Leasing

    async def _work(self) -> None:
        while True:
            free = self.concurrency - len(self._running)
            room = min(free, MOST_HELD * self.concurrency - len(self._held))
            if room <= 0:
                self._freed.clear()
                await self._freed.wait()
            elif not await self._lease(room):
                await asyncio.sleep(FIRST_RETRY)

    async def _lease(self, room: int) -> bool:
        """Take jobs of whichever channels have some first; False if leasing failed."""
        jobs: list[Job] = []
        if len(self._routes) == 1:  # without a task: 15 us
            (channel,) = self._routes
            await self._lease_of(channel, room, jobs)
            self._hold(jobs)
            return bool(jobs)
        count = max(1, room // len(self._routes))
        leases = [self._loop.create_task(self._lease_of(one, count, jobs)) for one in self._routes]
        try:
            await asyncio.wait(leases, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for lease in leases:
                lease.cancel()  # which loses nothing
            await asyncio.wait(leases)
            if len(jobs) > room:  # one of each of too many channels: each gets its turn
                random.shuffle(jobs)
            self._hold(jobs)
        return bool(jobs)

    async def _lease_of(self, channel: str, count: int, jobs: list[Job]) -> None:
        try:
            jobs += map(Job, await self._queue.lease(channel, count))
        except Exception as error:
            logger.error("Cannot lease a message; trying again: %r", error)

    def _hold(self, jobs: list[Job]) -> None:
        """Run as many as may, and give the others back, which no handler has seen."""
        self._held.update(jobs)
        free = self.concurrency - len(self._running) if self._stop_at == math.inf else 0
        for job in jobs[:free]:
            name = f"message {job.delivery.id} of {job.delivery.channel}"
            self._running[job] = self._loop.create_task(self._handle(job), name=name)
        for job in jobs[free:]:
            self._settle([job], partial(self._queue.release, job.delivery))

    # Handling

    async def _handle(self, job: Job) -> None:
        # What follows the handler awaits nothing, so that no second cancellation can cut it off.
        try:
            await self._make_consumer(job).dispatch(job.delivery.message)
        except StopConsumer:
            self._acknowledge_soon(job)
        except asyncio.CancelledError as error:
            if is_cancelled():
                self._reject(job)
                raise
            self._failed(job, error)  # something that it awaited was cancelled
        except Exception as error:
            self._failed(job, error)
        else:
            self._acknowledge_soon(job)
        finally:
            self._running.pop(job, None)
            self._freed.set()

    def _make_consumer(self, job: Job) -> AsyncConsumer:
        delivery, app = job.delivery, self._routes[job.delivery.channel]
        if delivery.attempt > self.max_attempts:
            raise NoAttemptEnded("Its workers died, were stopped or lost their leases")
        consumer = app.consumer_class(**app.consumer_initkwargs)
        consumer.scope = {
            "type": "channel",
            "channel": delivery.channel,
            "id": delivery.id,
            "attempt": delivery.attempt,
        }
        consumer.layer_handlers().require(consumer, delivery.message)
        consumer.bind_layer()
        return consumer

    def _failed(self, job: Job, error: BaseException) -> None:
        attempt, most = job.delivery.attempt, self.max_attempts
        where = (attempt, most, job.delivery.id, job.delivery.channel)
        logger.error("Attempt %d of %d at message %s of %s failed", *where, exc_info=error)
        doublings = min(attempt - 1, 30)  # 2**1024 would be no float
        delay = min(FIRST_RETRY * 2**doublings, LONGEST_RETRY)
        self._reject(job, delay, error if attempt >= most else None)

    # Settling

    def _settle(self, jobs: list[Job], confirm: Callable[[], Awaitable[None]]) -> None:
        task = self._loop.create_task(self._settled(jobs, confirm))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _settled(self, jobs: list[Job], confirm: Callable[[], Awaitable[None]]) -> None:
        try:
            await confirm()
        except Exception as error:  # the worker goes on
            for job in jobs:
                logger.error("Message %s is left to its lease: %r", job.delivery.id, error)
        finally:
            self._held.difference_update(jobs)
            self._freed.set()

    def _reject(self, job: Job, delay: float = 0.0, dead_of: BaseException | None = None) -> None:
        if self._running.pop(job, None) is not None:  # else it was, when it was left behind
            self._settle([job], partial(self._give_back, job, delay, dead_of))

    async def _give_back(self, job: Job, delay: float, dead_of: BaseException | None) -> None:
        final = dead_of is not None
        if dead_of is not None and self.on_dead is not None and job in self._held:
            try:
                await self.on_dead(job.delivery.message, dead_of)
            except ChannelLayerUnavailable:
                final = False  # it is to be told later
            except Exception:
                logger.exception("Nobody is told that message %s is dead", job.delivery.id)
        reason = _describe(dead_of) if final else ""
        await self._queue.reject(job.delivery, delay=delay, final=final, reason=reason)

    def _acknowledge_soon(self, job: Job) -> None:
        """One acknowledgement for all that is handled in one turn of the loop."""
        self._handled.append(job)
        if len(self._handled) == 1:
            self._settle(self._handled, self._acknowledge)

    async def _acknowledge(self) -> None:
        """Tried for as long as the lease lasts, so that a short outage repeats no job that is done."""
        jobs, self._handled = self._handled, []
        deadline = time.monotonic() + (self._queue.lease_time or 0.0)
        while True:
            try:
                return await self._queue.acknowledge(*(job.delivery for job in jobs))
            except ChannelLayerUnavailable:
                if time.monotonic() + FIRST_RETRY > min(deadline, self._stop_at):
                    raise
                await asyncio.sleep(FIRST_RETRY)

    async def _renew(self, interval: float) -> None:
        """Renew what is held, each ``interval`` seconds."""
        while True:
            await asyncio.sleep(interval)
            await asyncio.gather(*map(self._renew_one, self._held))

    async def _renew_one(self, job: Job) -> None:
        try:
            if not await self._queue.renew(job.delivery) and job in self._held:
                self._held.remove(job)  # else it was acknowledged meanwhile
                logger.warning("The lease of message %s was lost", job.delivery.id)
        except Exception as error:  # the worker goes on
            logger.warning("The lease of message %s is not renewed: %s", job.delivery.id, error)


def _as_app(name: str, target: type[AsyncConsumer] | ConsumerApp) -> ConsumerApp:
    check_channel_name(name)
    if isinstance(target, ConsumerApp):
        return target
    if isinstance(target, type) and issubclass(target, AsyncConsumer):
        return target.as_asgi()
    raise TypeError(f"The route of channel {name!r} must be a consumer class, not {target!r}")


def _describe(error: object) -> str:
    try:
        return repr(error)
    except Exception:  # of a user's class
        return type(error).__name__
