"""Jobs: the named channels of the queue layer.

A channel is a stream in Redis with one consumer group, and its dead letters beside it. Workers read new
entries; what a worker holds is an entry of the group's pending list, whose idle time is the age of its lease.

Invariants of a stream
- An entry leaves it only when it is acknowledged, buried or expired; the stream itself expires a minute
  after the last entry could.
- An entry that was not renewed for the time of a lease is claimed by one of the receivers that ask next,
  and counts as one more attempt. Its number of attempts names its lease: a worker that comes with an
  older one may still acknowledge; whatever else it asks for is not done.
- What was given back with a delay is held by a consumer of its own until it is due, then it is an entry
  whose lease has ended.
- A message is in its channel or among the dead letters, never in both and never in neither: each move is
  one script. Letters are envelopes as they were sent, so that also what cannot be decoded is kept, until
  the keys that it needs are configured. They do not expire; over ``LETTERS_KEPT`` the oldest go first.

Invariants of receivers
- One task of a channel asks for messages, as many as those that wait want. What it brings goes to those
  that came first; what was for one that has been cancelled, to the next one.
- For a loop of quick ``receive()`` calls messages are leased ahead: each time twice as many, up to
  ``AHEAD``. What no call has taken ``AHEAD_TIME`` after it came is given back, and for the next call
  nothing is leased ahead: so a slow loop keeps no message from other processes.
- Messages keep their order: while some are being given back, no others are asked for.
- What ``receive()`` has handed over is acknowledged in the same turn of the loop; in a quick loop by the
  request for the next messages, or after ``AHEAD_TIME``, and before anything that this process sends
  to the channel: there it takes no room any more.
- No command blocks: while there is nothing, the next request is made when the channel's notification
  comes, and every ``POLL`` seconds, for leases that have ended. A receiver waits through an outage.

Invariants of the channels of one event loop
- A channel on which nobody has received for ``IDLE_TIME`` seconds is forgotten, or earlier when there
  are ``MOST_IDLE`` others.
- A named channel that is a member of a group gets the group's messages from the loop that added it.
"""

import asyncio
import contextlib
import copy
import logging
import time
from collections import deque
from collections.abc import Awaitable, Sequence
from functools import lru_cache, partial
from pathlib import Path

from ...exceptions import (
    ChannelFull,
    ChannelLayerUnavailable,
    FastChannelsError,
    UndecodableMessage,
)
from ...mailbox import Mailbox, Message
from ...tasks import cancel_and_wait
from ..idle import IdleNames
from ..jobs import DeadLetter, Delivery, Depth, channel_full, shortened
from ..throttled import ThrottledWarning
from .batches import Batcher, Outcome, Request
from .client.commands import PUBLISH, Commands, Reply, Script
from .format import Sealed, decode_one, encode, encode_message, number_of
from .loop_layer import CACHED_NAMES, LoopLayer, NamedChannels

logger = logging.getLogger(__name__)

# The header of each script documents its keys, its values and what it returns.
LUA = Path(__file__).with_name("lua")
ENQUEUE = Script(LUA / "enqueue.lua")
LEASE = Script(LUA / "lease.lua")
RENEW = Script(LUA / "renew.lua")
ACKNOWLEDGE = Script(LUA / "acknowledge.lua")
GIVE_BACK = Script(LUA / "give_back.lua")
BURY = Script(LUA / "bury.lua")
REPLAY = Script(LUA / "replay.lua")
DEPTH = Script(LUA / "depth.lua")

# A stream's consumer group, and its consumers: one holds all leases, the attempt tells whose an entry is;
# the other one holds what was given back and is not due yet.
GROUP, WORKER, DELAYED = "workers", "worker", "delayed"

BATCH = 1000  # entries in one command
LETTERS_KEPT = 10_000
POLL = 1.0  # seconds
PAUSE = 0.1  # seconds after a failure
AHEAD = 32  # messages
AHEAD_TIME = 0.02  # seconds
LAST_REQUEST = 1.0  # seconds in which, at the end, a request that is under way may finish
LEASE_ENDED = b"again"  # the notification that a message was given back
IDLE_TIME = 10.0  # seconds
MOST_IDLE = 100  # channels


class JobStream:
    def __init__(self, owner: LoopLayer, lease_seconds: float, channel: str) -> None:
        topics = owner.config.topics
        self.channel = channel
        self.topic = topics.channel(channel)
        self._delayed = topics.delayed(channel)
        self._dead = topics.dead_letters(channel)  # all three share a slot
        self._owner = owner
        self._lease_ms = int(lease_seconds * 1000)
        self.expiry_ms = int(owner.config.expiry * 1000)
        self.capacity = owner.config.capacity_of(channel)

    @property
    def commands(self) -> Commands:
        return self._owner.commands_of(self.topic)

    def full(self) -> ChannelFull:
        return channel_full(self.channel, self.capacity)

    def envelope(self, uid: bytes, payload: bytes) -> bytes:
        """Of what ``LoopLayer.serialize`` has made."""
        bound = self._owner.bind(self.topic, ("", payload, number_of(uid)))
        return encode(uid, [encode_message("", bound)])

    # Leases

    async def lease(
        self, handled: Sequence[str], count: int, *, claim: bool
    ) -> tuple[list[Delivery], list[tuple[Delivery, str]], bool]:
        """Removes the ``handled`` entries first, and looks for ended leases if it may ``claim`` them.

        Returns what was leased; what of it cannot be decoded, with the reason; and whether there may be more
        to take at once.
        """
        values = (GROUP, WORKER, DELAYED, count, self._lease_ms, self.expiry_ms, int(claim))
        expired, more, *parts = await LEASE.run(
            self.commands, (self.topic, self._delayed), *values, *handled
        )
        self._owner.local.count_expired(expired)
        deliveries, unreadable = [], []
        for entry, envelope, attempt in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            receipt = entry.decode()
            try:
                job = decode_one(envelope)
                message = self._owner.open(self.topic, job)
            except UndecodableMessage as error:
                self._owner.undecodable.add(error)
                unreadable.append((Delivery(self.channel, {}, "", attempt, receipt), repr(error)))
            else:
                deliveries.append(Delivery(self.channel, message, _id(job), attempt, receipt))
        return deliveries, unreadable, bool(more)

    async def renew(self, delivery: Delivery) -> bool:
        values = (GROUP, WORKER, delivery.receipt, delivery.attempt)
        return bool(await RENEW.run(self.commands, (self.topic,), *values))

    async def acknowledge(self, receipts: Sequence[str]) -> None:
        for start in range(0, len(receipts), BATCH):
            some = receipts[start : start + BATCH]
            await ACKNOWLEDGE.run(self.commands, (self.topic,), GROUP, *some)

    def acknowledge_soon(self, receipts: Sequence[str]) -> None:
        """Not awaited: a receiver cancelled there would lose its message. Unsent, it comes again."""
        if (connection := self.commands.connection) is not None:
            connection.post("XACK", self.topic, GROUP, *receipts)
            connection.post("XDEL", self.topic, *receipts)

    async def give_back(
        self, deliveries: Sequence[Delivery], delay: float = 0.0, *, counts: bool = False
    ) -> None:
        """``counts``: as attempts that they had; else no handler has seen them."""
        delay_ms = max(int(delay * 1000), 0)
        limits = (delay_ms, self._lease_ms, self.expiry_ms, int(counts))
        for start in range(0, len(deliveries), BATCH):
            some = deliveries[start : start + BATCH]
            leases = [part for one in some for part in (one.receipt, one.attempt)]
            values = (GROUP, WORKER, DELAYED, *limits, PUBLISH, *leases)
            await GIVE_BACK.run(self.commands, (self.topic, self._delayed), *values)

    async def depth(self) -> Depth:
        *numbers, expired = await DEPTH.run(
            self.commands, (self.topic, self._dead), GROUP, self.expiry_ms
        )
        self._owner.local.count_expired(expired)
        return Depth(*numbers)

    # Dead letters

    async def bury(self, delivery: Delivery, reason: str) -> None:
        text = shortened(reason).encode(errors="backslashreplace")
        values = (GROUP, WORKER, delivery.receipt, delivery.attempt, text, LETTERS_KEPT)
        await BURY.run(self.commands, (self.topic, self._dead), *values)

    async def dead_letters(self, count: int, after: str) -> list[DeadLetter]:
        start = f"({after}" if after else "-"
        entries = await self.commands.execute("XRANGE", self._dead, start, "+", "COUNT", count)
        return [self._letter(entry.decode(), fields) for entry, fields in entries]

    def _letter(self, receipt: str, fields: list[bytes]) -> DeadLetter:
        values = dict(zip(fields[::2], fields[1::2], strict=True))
        identity, message = receipt, None
        reason = values.get(b"reason", b"").decode()
        try:
            job = decode_one(values.get(b"m", b""))
            identity = _id(job)
            message = self._owner.open(self.topic, job, however_old=True)
        except UndecodableMessage as error:
            reason = reason or repr(error)
        return DeadLetter(
            id=identity,
            message=message,
            attempts=int(values.get(b"attempts", 0)),
            reason=reason,
            at=int(receipt.partition("-")[0]) / 1000,
            receipt=receipt,
        )

    async def replay(self, letter: DeadLetter) -> bool:
        payload = self._owner.serialize(letter.decoded())
        # Sealed anew: the old seal may have expired.
        envelope = self.envelope(bytes.fromhex(letter.id), payload)
        moved, expired = await REPLAY.run(
            self.commands,
            (self.topic, self._dead),
            *(letter.receipt, envelope, self.capacity, self.expiry_ms, PUBLISH),
            replicated=self._owner.config.replicated,
        )
        self._owner.local.count_expired(expired)
        if moved < 0:
            raise self.full()
        return bool(moved)

    async def discard(self, letter: DeadLetter) -> bool:
        return bool(await self.commands.execute("XDEL", self._dead, letter.receipt))


def _id(job: Sealed) -> str:
    """Its uid in hexadecimal."""
    return f"{job[2]:032x}"


Waiter = asyncio.Future[list[Delivery]]


class Receivers:
    """Of one channel; while one waits, the channel is none of the ``idle``."""

    def __init__(self, owner: LoopLayer, stream: JobStream, idle: IdleNames) -> None:
        self._owner = owner
        self._stream = stream
        self._idle_names = idle
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[Waiter, int]] = deque()  # and how many messages they want
        self._task: asyncio.Task[None] | None = None  # while there is anything to do
        self._news = asyncio.Event()  # a reason for a request
        self._listening = False
        self._closing = False
        self._claim_at = 0.0
        self._ahead: deque[Delivery] = deque()
        self._returning = False  # what is ahead
        self._size = 1  # of the next request for a ``receive()``
        self._timer: asyncio.TimerHandle | None = None  # for AHEAD_TIME after messages came
        self._handled: list[str] = []  # receipts, to be acknowledged

    async def receive(self) -> Message:
        """A message, which is acknowledged without the caller's waiting for it."""
        if self._ahead:
            delivery = self._ahead.popleft()
        else:
            quick = self._timer is not None
            (delivery,) = await self._get(1, size=min(2 * self._size, AHEAD) if quick else 1)
        if not self._handled and self._size == 1:
            self._loop.call_soon(self.acknowledge)
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
            self._wake()
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
                self._news.set()

    def on_notification(self, data: bytes) -> None:
        if data == LEASE_ENDED:
            self._claim_at = 0.0
        self._news.set()

    @property
    def _waited_for(self) -> bool:
        return any(not waiter.done() for waiter, _ in self._waiting)

    @property
    def idle(self) -> bool:
        """Nothing is held here, nor under way."""
        return not (self._task or self._ahead or self._handled or self._waited_for)

    # Asking, and giving back

    def _wake(self) -> None:
        self._news.set()
        if self._task is None:
            self._task = self._loop.create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._returning or (self._waited_for and not self._closing):
                self._news.clear()
                if self._returning:
                    await self._return()
                elif pause := await self._ask():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await self._news.wait()
        finally:
            self._task = None

    async def _ask(self) -> float:
        """How many seconds the next request may wait, unless there is news."""
        handled: list[str] = []
        try:
            if not self._listening:
                await self._owner.subscribe(self._stream.topic, self.on_notification)
                self._listening = True
            while self._waiting and self._waiting[0][0].done():  # cancelled
                self._waiting.popleft()
            wanted = sum(count for waiter, count in self._waiting if not waiter.done())
            if not wanted:
                return 0.0
            now = time.monotonic()
            claim = now >= self._claim_at
            if claim:
                self._claim_at = now + POLL
            handled, self._handled = self._handled, []
            deliveries, unreadable, more = await self._stream.lease(
                handled, max(wanted, self._size), claim=claim
            )
        except Exception as error:
            self._handled[:0] = handled
            self._listening = False
            return self._failed(error)
        if more:
            self._claim_at = 0.0
        self._hand_out(deliveries)
        with contextlib.suppress(ChannelLayerUnavailable):  # they come again
            for delivery, reason in unreadable:
                await self._stream.bury(delivery, reason)
        return 0.0 if deliveries or unreadable or more else POLL

    def _failed(self, error: Exception) -> float:
        if isinstance(error, ChannelLayerUnavailable):
            logger.debug("Waiting to receive from %s: %s", self._stream.channel, error)
            return PAUSE
        for waiter, _ in self._waiting:
            if not waiter.done():
                waiter.set_exception(copy.copy(error))
        self._waiting.clear()
        return 0.0

    async def _return(self) -> None:
        # What cannot be given back comes again when its lease has ended.
        with contextlib.suppress(ChannelLayerUnavailable):
            while self._ahead:
                deliveries = list(self._ahead)
                self._ahead.clear()
                await self._stream.give_back(deliveries)
        self._returning = bool(self._ahead)  # what has come since
        self._claim_at = 0.0

    # Handing out

    def _hand_out(self, deliveries: list[Delivery]) -> None:
        self._ahead.extend(deliveries)
        served = self._serve()
        if not served or self._size == 1:
            self._give_back()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(AHEAD_TIME, self._slow_down)

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

    def _slow_down(self) -> None:
        self._timer = None
        self.acknowledge()
        if not self._waited_for:
            self._size = 1
            self._give_back()

    def _give_back(self) -> None:
        if self._ahead:
            self._returning = True
            self._wake()

    def acknowledge(self) -> None:
        """What no request has taken along. Unsent, it comes again."""
        handled, self._handled = self._handled, []
        if handled:
            self._stream.acknowledge_soon(handled)

    def drop_leased(self) -> None:
        self._ahead.clear()
        self._handled.clear()

    async def aclose(self) -> None:
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        # What a request that is cut off has leased would only come again when its lease has ended.
        await self._end_task()
        await asyncio.sleep(0)  # a receiver that was cancelled gives back what it was given
        self.acknowledge()
        self._give_back()
        await self._end_task()

    async def _end_task(self) -> None:
        self._news.set()
        if (task := self._task) is not None:
            await asyncio.wait({task}, timeout=LAST_REQUEST)
            await cancel_and_wait([task])


class JobStreams(NamedChannels):
    def __init__(self, owner: LoopLayer, lease_seconds: float) -> None:
        self._owner = owner
        self.stream = lru_cache(CACHED_NAMES)(partial(JobStream, owner, lease_seconds))
        self._batcher = Batcher(self._enqueue, self._outcomes, replicated=owner.config.replicated)
        self._receivers: dict[str, Receivers] = {}
        self._idle = IdleNames(self._forget, after=IDLE_TIME, most=MOST_IDLE)
        self._forwarders: dict[str, asyncio.Task[None]] = {}
        owner.openings.append(self._look_for_ended_leases)
        self.unforwarded = ThrottledWarning(
            logger, "%d group message(s) not forwarded, the last to channel %s: %s"
        )

    def send(self, channel: str, payload: bytes) -> Awaitable[object]:
        envelope = self.stream(channel).envelope(self._owner.uids.make(), payload)
        return self._batcher.send(channel, envelope)

    def _enqueue(self, channel: str, envelopes: list[bytes]) -> Request:
        self.acknowledge_received(channel)
        stream = self.stream(channel)
        limits = stream.capacity, stream.expiry_ms
        command = ENQUEUE.command((stream.topic,), *limits, PUBLISH, GROUP, *envelopes)
        return stream.commands, command

    def _outcomes(self, channel: str, number: int, reply: Reply) -> list[Outcome]:
        accepted, expired = map(int, reply.split())
        self._owner.local.count_expired(expired)
        return [None if n < accepted else self.stream(channel).full() for n in range(number)]

    def acknowledge_received(self, channel: str) -> None:
        if (receivers := self._receivers.get(channel)) is not None:
            receivers.acknowledge()

    async def receive(self, channel: str) -> Message:
        return await self._receivers_of(channel).receive()

    async def lease(self, channel: str, count: int) -> list[Delivery]:
        return await self._receivers_of(channel).lease(count)

    def _receivers_of(self, channel: str) -> Receivers:
        receivers = self._receivers.get(channel)
        if receivers is None:
            receivers = Receivers(self._owner, self.stream(channel), self._idle)
            self._receivers[channel] = receivers
        return receivers

    # Members of groups

    def joined(self, channel: str) -> None:
        if channel not in self._forwarders:
            self._forwarders[channel] = asyncio.create_task(self._forward(channel))

    def left(self, channel: str) -> None:
        if channel in self._forwarders and not self._owner.local.is_member(channel):
            self._forwarders.pop(channel).cancel()
            self._owner.local.close(channel)

    async def _forward(self, channel: str) -> None:
        mailbox = self._owner.local.mailbox_of(channel)
        while True:
            message = await mailbox.get()
            try:
                await self.send(channel, self._owner.serialize(message))
            except FastChannelsError as error:
                self.unforwarded.add(channel, error)

    # The end

    def close(self, channel: str, mailbox: Mailbox | None) -> None:
        self._forget(channel)
        if (forwarder := self._forwarders.pop(channel, None)) is not None:
            forwarder.cancel()

    def _forget(self, channel: str) -> bool:
        """End the subscription to a channel; False if there are receivers or messages for them."""
        receivers = self._receivers.get(channel)
        if receivers is None:
            return True
        if not receivers.idle:
            return False
        self._idle.use(channel)
        del self._receivers[channel]
        self._owner.ignore(self.stream(channel).topic)
        return True

    def _look_for_ended_leases(self) -> None:
        for receivers in self._receivers.values():
            receivers.on_notification(LEASE_ENDED)

    def restart(self) -> None:
        for receivers in self._receivers.values():
            receivers.drop_leased()

    async def aclose(self) -> None:
        await cancel_and_wait(self._forwarders.values())
        self._idle.close()
        await self._batcher.aclose()
        await asyncio.gather(*(receivers.aclose() for receivers in self._receivers.values()))
