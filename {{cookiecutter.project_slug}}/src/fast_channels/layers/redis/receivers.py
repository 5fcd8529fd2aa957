"""Receivers that wait for messages of one named channel in one process.

Invariants
- At most one request for messages is under way, and only while a receiver waits; it asks for as many
  as those that wait want. What it brings goes to those that came first.
- For a loop of quick ``receive()`` calls messages are leased ahead: each time twice as many, up to
  ``AHEAD``. What no call has taken ``AHEAD_TIME`` after it came is given back, and for the next call
  nothing is leased ahead: so a slow loop keeps no message from other processes.
- What was leased for a receiver that has been cancelled goes to the next one; if there is none, it is
  given back at once, with what was leased ahead.
- Messages keep their order: while some are being given back, no others are asked for.
- What ``receive()`` has handed over is acknowledged in the same turn of the loop; in a quick loop by the
  request for the next messages, or after ``AHEAD_TIME``, and before anything that this process sends
  to the channel.
- No command blocks: while there is nothing, the next request is made when the channel's notification
  comes, and every ``POLL`` seconds, for leases that have ended.
- A receiver waits through an outage.
"""

import asyncio
import contextlib
import copy
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable

from ...exceptions import ChannelLayerUnavailable
from ...mailbox import Message
from ...tasks import cancel_and_wait
from ..idle import IdleNames
from ..jobs import Delivery
from .client.commands import CommandGroup, PendingCommand
from .client.connection import Reply
from .stream import JobStream

logger = logging.getLogger(__name__)

POLL = 1.0  # seconds
PAUSE = 0.1  # seconds after a failure
AHEAD = 32  # messages
AHEAD_TIME = 0.02  # seconds
LAST_REQUEST = 1.0  # seconds in which, at the end, a request that is under way may finish
LEASE_ENDED = b"again"  # the notification that a message was given back

Waiter = asyncio.Future[list[Delivery]]


class Receivers:
    """``listen(on_notification)`` subscribes to the channel; while one waits, it is not ``idle``."""

    def __init__(
        self,
        stream: JobStream,
        listen: Callable[[Callable[[bytes], None]], Awaitable[None]],
        idle: IdleNames,
    ) -> None:
        self._stream = stream
        self._subscribe = listen
        self._idle_names = idle
        self._loop = asyncio.get_running_loop()
        self._group = CommandGroup()
        self._waiting: deque[tuple[Waiter, int]] = deque()  # and how many messages they want
        self._listening = False
        self._busy = False  # a request is under way, or the subscription that goes before it
        self._woken = False  # there was a reason for a request meanwhile
        self._timer: asyncio.TimerHandle | None = None  # of the next request
        self._claim_at = 0.0
        self._ahead: deque[Delivery] = deque()
        self._size = 1  # of the next request for a ``receive()``
        self._fresh_until = 0.0
        self._ahead_timer: asyncio.TimerHandle | None = None
        self._handled: list[str] = []  # receipts, to be acknowledged
        self._returning: asyncio.Task[None] | None = None
        self._quiet: asyncio.Future[None] | None = None  # the end waits for the last request

    async def receive(self) -> Message:
        """A message, which is acknowledged without the caller's waiting for it."""
        if self._ahead:
            delivery = self._ahead.popleft()
        else:
            quick = self._loop.time() < self._fresh_until
            (delivery,) = await self._get(1, size=min(2 * self._size, AHEAD) if quick else 1)
        if not self._handled and self._size == 1:
            self._loop.call_soon(self.acknowledge)
        elif self._ahead_timer is None:
            self._look_at_ahead_in(AHEAD_TIME)
        self._handled.append(delivery.receipt)
        return delivery.message

    async def lease(self, count: int) -> list[Delivery]:
        """Wait for at least one message and take up to ``count``."""
        return await self._get(count, size=1)

    async def _get(self, count: int, size: int) -> list[Delivery]:
        self._idle_names.use(self._stream.channel)
        self._size = size
        waiter: Waiter = self._loop.create_future()
        self._waiting.append((waiter, count))
        if not self._ahead or not self._serve():
            self._look()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._ahead.extendleft(reversed(waiter.result()))
                self._serve()
                self._give_back()
            raise
        finally:
            if not self._waited_for:
                self._idle_names.leave(self._stream.channel)

    def on_notification(self, data: bytes) -> None:
        if data == LEASE_ENDED:
            self._claim_at = 0.0
        self._look()

    @property
    def _waited_for(self) -> bool:
        return any(not waiter.done() for waiter, _ in self._waiting)

    @property
    def idle(self) -> bool:
        """Nothing is held here, nor under way."""
        held = self._busy or self._ahead or self._handled or self._returning
        return not held and not self._waited_for

    # Asking

    def _look(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._woken = True
        if self._busy or self._returning is not None or self._quiet is not None:
            return
        while self._waiting and self._waiting[0][0].done():  # cancelled
            self._waiting.popleft()
        if not self._waiting:
            self.acknowledge()
            return
        self._busy = True
        if self._listening:
            self._ask()
        else:
            self._group.run(self._listen())

    async def _listen(self) -> None:
        try:
            await self._subscribe(self.on_notification)
        except Exception as error:
            self.failed(error)
        else:
            self._listening = True
            self._ask()

    def _ask(self) -> None:
        self._woken = False
        count = sum(count for waiter, count in self._waiting if not waiter.done())
        if not count:
            self._done()
            return
        now = time.monotonic()
        claim = now >= self._claim_at
        if claim:
            self._claim_at = now + POLL
        handled, self._handled = self._handled, []
        request = self._stream.lease(handled, max(count, self._size), claim=claim)
        connection = LeaseRequest(self, handled).start(self._group, *request)
        if connection is not None:
            connection.write_soon()

    def answered(self, reply: Reply) -> None:
        deliveries, unreadable, more = self._stream.leased(reply)
        for delivery, reason in unreadable:
            self._group.run(self._bury(delivery, reason))
        if more:
            self._claim_at = 0.0
        self._hand_out(deliveries)
        self._done()
        if deliveries or unreadable or more or self._woken:
            self._look()
        else:
            self._look_in(POLL)

    async def _bury(self, delivery: Delivery, reason: str) -> None:
        with contextlib.suppress(ChannelLayerUnavailable):  # it comes again
            await self._stream.bury(delivery, reason)

    def refused(self, error: Exception, handled: list[str]) -> None:
        """A request failed, by which these were to be acknowledged."""
        self._handled[:0] = handled
        self.failed(error)

    def failed(self, error: Exception) -> None:
        self._listening = False
        self._done()
        if isinstance(error, ChannelLayerUnavailable):
            logger.debug("Waiting to receive from %s: %s", self._stream.channel, error)
            self._look_in(PAUSE)
            return
        for waiter, _ in self._waiting:
            if not waiter.done():
                waiter.set_exception(copy.copy(error))
        self._waiting.clear()

    def _done(self) -> None:
        self._busy = False
        if self._quiet is not None and not self._quiet.done():
            self._quiet.set_result(None)

    def _look_in(self, seconds: float) -> None:
        if self._quiet is None:
            self._timer = self._loop.call_later(seconds, self._look)

    # Handing out

    def _hand_out(self, deliveries: list[Delivery]) -> None:
        self._ahead.extend(deliveries)
        served = self._serve()
        if not served or self._size == 1:
            self._give_back()
        self._fresh_until = self._loop.time() + AHEAD_TIME
        if self._ahead and self._ahead_timer is None:
            self._look_at_ahead_in(AHEAD_TIME)

    def _serve(self) -> bool:
        """Whether anybody waited for what there is."""
        served = False
        while self._ahead and self._waiting:
            waiter, count = self._waiting.popleft()
            if not waiter.done():
                count = min(count, len(self._ahead))
                waiter.set_result([self._ahead.popleft() for _ in range(count)])
                served = True
        return served

    def _look_at_ahead_in(self, seconds: float) -> None:
        self._ahead_timer = self._loop.call_later(seconds, self._look_at_ahead)

    def _look_at_ahead(self) -> None:
        self._ahead_timer = None
        if (left := self._fresh_until - self._loop.time()) <= 0:
            self._give_back()
            self.acknowledge()
        elif self._ahead or self._handled:
            self._look_at_ahead_in(left)

    def _give_back(self) -> None:
        if self._ahead and self._returning is None:
            self._returning = self._loop.create_task(self._return())
            self._returning.add_done_callback(self._returned)

    async def _return(self) -> None:
        # What cannot be given back comes again when its lease has ended.
        with contextlib.suppress(ChannelLayerUnavailable):
            while self._ahead:
                deliveries = list(self._ahead)
                self._ahead.clear()
                await self._stream.give_back(deliveries)

    def _returned(self, task: "asyncio.Task[None]") -> None:
        self._returning = None
        self._give_back()  # what has come since
        self._claim_at = 0.0
        self._look()

    def acknowledge(self) -> None:
        """What no request has taken along. Unsent, it comes again."""
        handled, self._handled = self._handled, []
        if handled:
            self._stream.acknowledge_soon(handled)

    def drop_leased(self) -> None:
        self._ahead.clear()
        self._handled.clear()

    async def aclose(self) -> None:
        self._quiet = self._loop.create_future()
        for timer in (self._timer, self._ahead_timer):
            if timer is not None:
                timer.cancel()
        if self._busy:
            # What a request that is cut off has leased would only come again when its lease has ended.
            await asyncio.wait({self._quiet}, timeout=LAST_REQUEST)
        await asyncio.sleep(
            0
        )  # a receiver that was cancelled with messages in hand gives them back
        self.acknowledge()
        self._give_back()
        if (returning := self._returning) is not None:
            await asyncio.wait({returning}, timeout=LAST_REQUEST)
            await cancel_and_wait([returning])
        await self._group.aclose()


class LeaseRequest(PendingCommand):
    __slots__ = ("_handled", "_receivers")

    def __init__(self, receivers: Receivers, handled: list[str]) -> None:
        self._receivers = receivers
        self._handled = handled

    def succeeded(self, reply: Reply) -> None:
        try:
            self._receivers.answered(reply)
        except Exception as error:
            self._receivers.failed(error)

    def failed(self, error: Exception) -> None:
        self._receivers.refused(error, self._handled)
