"""Those who wait for messages of one named channel in one process.

Invariants
- At most one request for messages is under way, and only while somebody waits; it asks for as many as
  those who wait want. What it brings goes to those who came first.
- What was leased for a receiver that has been cancelled goes to the next one; if there is none it is
  given back at once.
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
from typing import TYPE_CHECKING

from ...exceptions import ChannelLayerUnavailable
from ...utils import cancel_and_wait
from ..jobs import Delivery
from .exchange import Exchange, Exchanges
from .link import Reply

if TYPE_CHECKING:
    from .named import NamedChannels

logger = logging.getLogger(__name__)

POLL = 1.0  # seconds
PAUSE = 0.1  # seconds after a failure
FAREWELL = 1.0  # seconds in which, at the end, a request that is under way may finish
LEASE_ENDED = b"again"  # the notification that a message was given back

Waiter = asyncio.Future[list[Delivery]]


class Receivers:
    def __init__(self, named: "NamedChannels", channel: str) -> None:
        self._named = named
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._exchanges = Exchanges()
        self._waiting: deque[tuple[Waiter, int]] = deque()  # and how many messages they want
        self._listening = False
        self._busy = False  # a request is under way, or the subscription that goes before it
        self._woken = False  # there was a reason for a request meanwhile
        self._timer: asyncio.TimerHandle | None = None  # of the next request
        self._claim_at = 0.0
        self._unused: list[Delivery] = []
        self._returning: asyncio.Task[None] | None = None
        self._quiet: asyncio.Future[None] | None = None  # the end waits for the last request

    async def get(self, count: int) -> list[Delivery]:
        """Wait for at least one message and take up to ``count``."""
        waiter: Waiter = self._loop.create_future()
        self._waiting.append((waiter, count))
        self._look()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._hand_out(waiter.result())
            raise

    def on_notification(self, data: bytes) -> None:
        if data == LEASE_ENDED:
            self._claim_at = 0.0
        self._look()

    # Asking

    def _look(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._woken = True
        if self._busy or self._quiet is not None:
            return
        while self._waiting and self._waiting[0][0].done():  # cancelled
            self._waiting.popleft()
        if not self._waiting:
            return
        self._busy = True
        if self._listening:
            self._ask()
        else:
            self._exchanges.run(self._listen())

    async def _listen(self) -> None:
        try:
            await self._named.listen(self._channel, self.on_notification)
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
        request = LeaseRequest(self._exchanges, self, count, claim=claim)
        link = self._named.lease_by(request, self._channel, count, claim=claim)
        if link is not None:
            link.flush_soon()

    def answered(self, reply: Reply, wanted: int, *, claimed: bool) -> None:
        deliveries, unreadable = self._named.open(self._channel, reply)
        for delivery, reason in unreadable:
            self._exchanges.run(self._named.bury(delivery, reason))
        leased = len(deliveries) + len(unreadable)
        if claimed and leased == wanted:
            self._claim_at = 0.0  # there may be more leases that have ended
        self._hand_out(deliveries)
        self._done()
        if leased or self._woken:
            self._look()
        else:
            self._look_in(POLL)

    def failed(self, error: Exception) -> None:
        self._listening = False
        self._done()
        if isinstance(error, ChannelLayerUnavailable):
            logger.debug("Waiting to receive from %s: %s", self._channel, error)
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
        while deliveries and self._waiting:
            waiter, count = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(deliveries[:count])
                deliveries = deliveries[count:]
        if deliveries:
            self._unused += deliveries
            if self._returning is None or self._returning.done():
                self._returning = self._loop.create_task(self._return_unused())

    async def _return_unused(self) -> None:
        # What cannot be given back comes again when its lease has ended.
        with contextlib.suppress(ChannelLayerUnavailable):
            while self._unused:
                await self._named.release(self._unused.pop())

    async def aclose(self) -> None:
        self._quiet = self._loop.create_future()
        if self._timer is not None:
            self._timer.cancel()
        if self._busy:
            # What a request that is cut off has leased would only come again when its lease has ended.
            await asyncio.wait({self._quiet}, timeout=FAREWELL)
        await asyncio.sleep(0)  # who was cancelled with messages in hand gives them back now
        if self._returning is not None:
            await asyncio.wait({self._returning}, timeout=FAREWELL)
            await cancel_and_wait([self._returning])
        await self._exchanges.aclose()


class LeaseRequest(Exchange):
    __slots__ = ("_claim", "_receivers", "_wanted")

    def __init__(
        self, exchanges: Exchanges, receivers: Receivers, wanted: int, *, claim: bool
    ) -> None:
        super().__init__(exchanges)
        self._receivers = receivers
        self._wanted = wanted
        self._claim = claim

    def succeeded(self, reply: Reply) -> None:
        try:
            self._receivers.answered(reply, self._wanted, claimed=self._claim)
        except Exception as error:
            self._receivers.failed(error)

    def failed(self, error: Exception) -> None:
        self._receivers.failed(error)
