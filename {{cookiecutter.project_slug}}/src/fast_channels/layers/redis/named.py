"""Named channels of the queue layer: work that is leased, then acknowledged.

A named channel is a stream with one consumer group. Workers read new entries; what a worker holds
is an entry of the group's pending list, whose idle time is the age of its lease.

Invariants
- An entry leaves the stream only when it is acknowledged, buried or expired; the stream itself
  expires a minute after the last entry could.
- An entry that has been pending for ``lease_time`` seconds without being renewed is claimed by
  whoever asks next, one of them, and counts as one more attempt.
- An entry's number of attempts names its lease: who comes with an older one has lost it. He may still
  acknowledge; whatever else he asks for is not done.
- What was fetched for a receiver that has been cancelled goes to the next receiver of this peer; if
  there is none it is given back at once.
- No command blocks: a receiver is woken by the channel's notification, and looks again every
  ``POLL`` seconds for leases that have ended.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from ...exceptions import ChannelFull, ChannelLayerUnavailable, UndecodableMessage
from ...mailbox import Message
from ..jobs import Delivery, Depth
from . import scripts
from .dead_letters import DeadLetters
from .envelope import decode, encode, encode_message
from .outbox import Outbox, Outcome, Request
from .topology import Commands

if TYPE_CHECKING:
    from .peer import Peer

logger = logging.getLogger(__name__)

GROUP = "workers"
CONSUMER = "worker"  # one name for all: the attempt tells who holds an entry
POLL = 1.0  # seconds
BATCH = 1000  # acknowledgements in one command
FAREWELL = 1.0  # seconds in which, at the end, a fetch that is under way may finish
LEASE_ENDED = b"again"  # the notification that a message was given back


class NamedChannels:
    """The named channels of one peer."""

    def __init__(self, peer: "Peer", lease_time: float) -> None:
        self._peer = peer
        self._lease_ms = int(lease_time * 1000)
        self._expiry_ms = int(peer.config.expiry * 1000)
        self.dead = DeadLetters(peer, GROUP)
        self._outbox = Outbox(
            peer.config.timeout,
            self._request,
            self._outcomes,
            replicated=peer.config.replicated,
        )
        self._pullers: dict[str, _Puller] = {}

    def send(self, channel: str, payload: bytes) -> Awaitable[object]:
        envelope = encode(self._peer.uids.make(), [encode_message("", payload)])
        return self._outbox.send(channel, envelope)

    def _request(self, channel: str, envelopes: list[bytes]) -> Request:
        server, topic = self._place(channel)
        command = scripts.enqueue(
            topic,
            envelopes,
            GROUP,
            capacity=self._peer.config.capacity_of(channel),
            expiry_ms=self._expiry_ms,
        )
        return server, command

    def _outcomes(self, channel: str, number: int, reply: bytes) -> list[Outcome]:
        accepted, expired = scripts.enqueued(reply)
        self._count_expired(expired)
        full = f"Channel {channel} holds {self._peer.config.capacity_of(channel)} unread messages"
        return [None if n < accepted else ChannelFull(full) for n in range(number)]

    async def receive(self, channel: str) -> Message:
        """A message, removed from Redis as soon as it is handed over."""
        (delivery,) = await self.lease(channel, 1)
        self._acknowledge_soon(delivery)
        return delivery.message

    async def lease(self, channel: str, count: int) -> list[Delivery]:
        puller = self._pullers.get(channel)
        if puller is None:
            puller = self._pullers[channel] = _Puller(self, channel)
        return await puller.get(count)

    async def renew(self, delivery: Delivery) -> bool:
        server, topic = self._place(delivery.channel)
        return await scripts.renew(
            server, topic, (GROUP, CONSUMER), delivery.receipt, delivery.attempt
        )

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        by_channel: dict[str, list[str]] = {}
        for delivery in deliveries:
            by_channel.setdefault(delivery.channel, []).append(delivery.receipt)
        for channel, receipts in by_channel.items():
            server, topic = self._place(channel)
            for start in range(0, len(receipts), BATCH):
                await scripts.acknowledge(server, topic, GROUP, receipts[start : start + BATCH])

    async def reject(self, delivery: Delivery, *, delay: float, final: bool, reason: str) -> None:
        if final:
            await self.dead.bury(delivery, reason)
        else:
            await self._give_back(delivery, delay, delivery.attempt)

    async def release(self, delivery: Delivery) -> None:
        """Give back what no handler has seen; it does not count as an attempt."""
        await self._give_back(delivery, 0.0, delivery.attempt - 1)

    async def depth(self, channel: str) -> Depth:
        server, topic = self._place(channel)
        keys = (topic, self._peer.config.topics.dead_letters(channel))
        return Depth(*await scripts.depth(server, keys, GROUP, expiry_ms=self._expiry_ms))

    async def fetch(self, channel: str, count: int, *, claim: bool) -> tuple[list[Delivery], int]:
        """What was leased and can be read, and how many were leased; the others are buried."""
        server, topic = self._place(channel)
        leased, expired = await scripts.lease(
            server,
            topic,
            (GROUP, CONSUMER),
            count=count,
            lease_ms=self._lease_ms,
            expiry_ms=self._expiry_ms,
            claim=claim,
        )
        self._count_expired(expired)
        deliveries = []
        for entry, sealed, attempt in leased:
            receipt = entry.decode()
            try:
                deliveries.append(self._open(channel, receipt, sealed, attempt))
            except UndecodableMessage as error:
                self._peer.poison.add(error)
                # Failing to bury it must not cost the rest of the batch; it comes again.
                with contextlib.suppress(ChannelLayerUnavailable):
                    await self.dead.bury(Delivery(channel, {}, "", attempt, receipt), repr(error))
        return deliveries, len(leased)

    def _count_expired(self, count: int) -> None:
        if count:
            self._peer.local.expirations.add(self._peer.config.expiry, count=count)

    def _open(self, channel: str, receipt: str, sealed: bytes, attempt: int) -> Delivery:
        envelope = decode(sealed)
        message = self._peer.config.serializer.deserialize(envelope.payload)
        return Delivery(channel, message, envelope.uid.hex(), attempt, receipt)

    def wake_all(self) -> None:
        """Notifications may have been missed."""
        for puller in self._pullers.values():
            puller.on_notification(LEASE_ENDED)

    async def listen(self, channel: str, puller: "_Puller") -> None:
        topic = self._peer.config.topics.channel(channel)
        await self._peer.subscribe(topic, puller.on_notification)

    async def aclose(self) -> None:
        self._outbox.close()
        await asyncio.gather(*(puller.aclose() for puller in self._pullers.values()))

    def _place(self, channel: str) -> tuple[Commands, str]:
        topic = self._peer.config.topics.channel(channel)
        return self._peer.shard_of(topic).commands, topic

    def _acknowledge_soon(self, delivery: Delivery) -> None:
        """Not awaited: a receiver cancelled here would lose its message. Unsent, it comes again."""
        server, topic = self._place(delivery.channel)
        if server.link is not None:
            server.link.post("XACK", topic, GROUP, delivery.receipt)
            server.link.post("XDEL", topic, delivery.receipt)

    async def _give_back(self, delivery: Delivery, delay: float, attempts: int) -> None:
        server, topic = self._place(delivery.channel)
        await scripts.give_back(
            server,
            topic,
            (GROUP, CONSUMER),
            delivery.receipt,
            delivery.attempt,
            age_ms=max(self._lease_ms - int(delay * 1000), 0),
            attempts=attempts,
            wake=delay <= 0,
        )


class _Puller:
    """Fetches the messages of one channel while somebody waits for them."""

    def __init__(self, named: NamedChannels, channel: str) -> None:
        self._named = named
        self._channel = channel
        self._ready: asyncio.Queue[Delivery] = asyncio.Queue()  # never more than is wanted
        self._wanted = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._claim_at = 0.0
        self._task: asyncio.Task[None] | None = None

    async def get(self, count: int) -> list[Delivery]:
        self._wanted += count
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._pull(), name=f"pull {self._channel}")
        try:
            deliveries = [await self._ready.get()]
            while len(deliveries) < count and not self._ready.empty():
                deliveries.append(self._ready.get_nowait())
            return deliveries
        finally:
            self._wanted -= count
            self._wake.set()

    def on_notification(self, data: bytes) -> None:
        if data == LEASE_ENDED:
            self._claim_at = 0.0
        self._wake.set()

    async def _pull(self) -> None:
        while self._wanted and not self._closing:
            try:
                await self._named.listen(self._channel, self)
                await self._fetch_while_wanted()
                await self._return_unused()
            except ChannelLayerUnavailable as error:  # a receiver waits through an outage
                logger.debug("Waiting to receive from %s: %s", self._channel, error)

    async def _fetch_while_wanted(self) -> None:
        while self._wanted and not self._closing:
            self._wake.clear()
            count = self._wanted - self._ready.qsize()
            claim = time.monotonic() >= self._claim_at
            if count > 0:
                if claim:
                    self._claim_at = time.monotonic() + POLL
                deliveries, leased = await self._named.fetch(self._channel, count, claim=claim)
                if claim and leased == count:
                    self._claim_at = 0.0  # there may be more leases that have ended
                for delivery in deliveries:
                    self._ready.put_nowait(delivery)
                if leased:
                    await asyncio.sleep(0)  # the receivers take them, and may want more
                    continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), POLL)

    async def _return_unused(self) -> None:
        while not self._ready.empty():
            await self._named.release(self._ready.get_nowait())

    async def aclose(self) -> None:
        self._closing = True
        self._wake.set()
        if self._task is not None:
            # What a cancelled fetch had leased would only come again when its lease has ended.
            await asyncio.wait({self._task}, timeout=FAREWELL)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(ChannelLayerUnavailable):
            await self._return_unused()
