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
- What was given back with a delay is held by a consumer of its own until it is due, then it is an entry
  whose lease has ended.
- A channel on which nobody has received for ``IDLE_TIME`` seconds is forgotten, or earlier when there
  are ``MOST_IDLE`` others.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from ...exceptions import ChannelFull, ChannelLayerUnavailable, UndecodableMessage
from ...mailbox import Message
from ..jobs import Delivery, Depth
from . import scripts
from .dead_letters import DeadLetters
from .envelope import Envelope, decode, encode, encode_message, number_of, place_of
from .exchange import Exchange
from .idle import IdleNames
from .link import Link, Reply
from .outbox import Outbox, Outcome, Request
from .receivers import LEASE_ENDED, Receivers
from .serializers import BaseMessageSerializer
from .topology import Commands

if TYPE_CHECKING:
    from .peer import Peer

BATCH = 1000  # entries in one command
IDLE_TIME = 10.0  # seconds
MOST_IDLE = 100  # channels


class NamedChannels:
    """The named channels of one peer."""

    def __init__(self, peer: "Peer", lease_time: float) -> None:
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._lease_ms = int(lease_time * 1000)
        self._expiry_ms = int(peer.config.expiry * 1000)
        self.dead = DeadLetters(peer, self.seal, self.message_in)
        self._outbox = Outbox(
            peer.config.timeout,
            self._request,
            self._outcomes,
            replicated=peer.config.replicated,
        )
        self._receivers: dict[str, Receivers] = {}
        self._idle = IdleNames(self.forget, after=IDLE_TIME, most=MOST_IDLE)

    def send(self, channel: str, payload: bytes) -> Awaitable[object]:
        return self._outbox.send(channel, self.seal(channel, self._peer.uids.make(), payload))

    def seal(self, channel: str, uid: bytes, payload: bytes) -> bytes:
        topic = self._peer.config.topics.channel(channel)
        return encode(
            uid, [encode_message("", self._peer.bind(topic, "", payload, number_of(uid)))]
        )

    def _request(self, channel: str, envelopes: list[bytes]) -> Request:
        self._acknowledge_now(channel)
        server, topic = self._place(channel)
        command = scripts.enqueue(
            topic,
            envelopes,
            capacity=self._peer.config.capacity_of(channel),
            expiry_ms=self._expiry_ms,
        )
        return server, command

    def _outcomes(self, channel: str, number: int, reply: bytes) -> list[Outcome]:
        accepted, expired = scripts.enqueued(reply)
        self._peer.local.count_expired(expired)
        full = f"Channel {channel} holds {self._peer.config.capacity_of(channel)} unread messages"
        return [None if n < accepted else ChannelFull(full) for n in range(number)]

    async def receive(self, channel: str) -> Message:
        """A message, removed from Redis as soon as it is handed over."""
        return await self._receivers_of(channel).receive()

    async def lease(self, channel: str, count: int) -> list[Delivery]:
        return await self._receivers_of(channel).lease(count)

    async def renew(self, delivery: Delivery) -> bool:
        server, topic = self._place(delivery.channel)
        return await scripts.renew(server, topic, delivery.receipt, delivery.attempt)

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        by_channel: dict[str, list[str]] = {}
        for delivery in deliveries:
            by_channel.setdefault(delivery.channel, []).append(delivery.receipt)
        for channel, receipts in by_channel.items():
            server, topic = self._place(channel)
            for start in range(0, len(receipts), BATCH):
                await scripts.acknowledge(server, topic, receipts[start : start + BATCH])

    async def reject(self, delivery: Delivery, *, delay: float, final: bool, reason: str) -> None:
        if final:
            await self.dead.bury(delivery, reason)
        else:
            await self._give_back([delivery], delay, counts=True)

    async def release(self, *deliveries: Delivery) -> None:
        """Give back what no handler has seen, of one channel; it does not count as an attempt."""
        await self._give_back(deliveries, 0.0, counts=False)

    async def depth(self, channel: str) -> Depth:
        self._acknowledge_now(channel)
        server, topic = self._place(channel)
        keys = (topic, self._peer.config.topics.dead_letters(channel))
        *numbers, expired = await scripts.depth(server, keys, expiry_ms=self._expiry_ms)
        self._peer.local.count_expired(expired)
        return Depth(*numbers)

    def forget(self, channel: str) -> bool:
        """End the subscription to a channel; False if there are receivers or messages for them."""
        receivers = self._receivers.get(channel)
        if receivers is None:
            return True
        if not receivers.idle:
            return False
        self._idle.use(channel)
        del self._receivers[channel]
        self._peer.ignore(self._peer.config.topics.channel(channel))
        return True

    # For the receivers

    def used(self, channel: str) -> None:
        self._idle.use(channel)

    def left(self, channel: str) -> None:
        self._idle.leave(channel)

    async def listen(self, channel: str, on_notification: Callable[[bytes], None]) -> None:
        await self._peer.subscribe(self._peer.config.topics.channel(channel), on_notification)

    def lease_by(
        self, request: Exchange, channel: str, handled: list[str], count: int, *, claim: bool
    ) -> Link | None:
        """Returns the link that has to be flushed; the reply is for ``open``."""
        server, topic = self._place(channel)
        command = scripts.lease(
            (topic, self._peer.config.topics.delayed(channel)),
            handled,
            count=count,
            lease_ms=self._lease_ms,
            expiry_ms=self._expiry_ms,
            claim=claim,
        )
        return request.start(server, command, timeout=self._peer.config.timeout)

    def open(
        self, channel: str, reply: Reply
    ) -> tuple[list[Delivery], list[tuple[Delivery, str]], bool]:
        """The messages that were leased; those that cannot be decoded, with the reason; and whether
        there may be more to take at once.
        """
        leased, expired, more = scripts.leased(reply)
        self._peer.local.count_expired(expired)
        deliveries, unreadable = [], []
        for entry, sealed, attempt in leased:
            receipt = entry.decode()
            try:
                envelope = decode(sealed)
                message = self.message_in(channel, envelope, self._peer.config.serializer)
            except UndecodableMessage as error:
                self._peer.poison.add(error)
                unreadable.append((Delivery(channel, {}, "", attempt, receipt), repr(error)))
            else:
                uid = envelope.uid.hex()
                deliveries.append(Delivery(channel, message, uid, attempt, receipt))
        return deliveries, unreadable, more

    def message_in(
        self, channel: str, envelope: Envelope, serializer: BaseMessageSerializer
    ) -> Message:
        if not self._peer.binds:
            return serializer.deserialize(envelope.payload)
        place = place_of(self._peer.config.topics.channel(channel), "", number_of(envelope.uid))
        return serializer.deserialize_at(envelope.payload, place)

    async def bury(self, delivery: Delivery, reason: str) -> None:
        with contextlib.suppress(ChannelLayerUnavailable):  # it comes again
            await self.dead.bury(delivery, reason)

    def wake_all(self) -> None:
        """Notifications may have been missed."""
        for receivers in self._receivers.values():
            receivers.on_notification(LEASE_ENDED)

    def drop_leased(self) -> None:
        """The channels were deleted."""
        for receivers in self._receivers.values():
            receivers.drop_leased()

    async def aclose(self) -> None:
        self._idle.close()
        await self._outbox.aclose()
        await asyncio.gather(*(receivers.aclose() for receivers in self._receivers.values()))

    def _place(self, channel: str) -> tuple[Commands, str]:
        topic = self._peer.config.topics.channel(channel)
        return self._peer.shard_of(topic).commands, topic

    def _receivers_of(self, channel: str) -> Receivers:
        receivers = self._receivers.get(channel)
        if receivers is None:
            receivers = self._receivers[channel] = Receivers(self, channel)
        return receivers

    def acknowledge_soon(self, channel: str, receipts: list[str]) -> None:
        """Not awaited: a receiver cancelled here would lose its message."""
        server, topic = self._place(channel)
        if server.link is not None:
            server.link.post("XACK", topic, scripts.GROUP, *receipts)
            server.link.post("XDEL", topic, *receipts)

    def _acknowledge_now(self, channel: str) -> None:
        """What has been received takes no room any more when the next command is executed."""
        if (receivers := self._receivers.get(channel)) is not None:
            receivers.acknowledge()

    async def _give_back(
        self, deliveries: Sequence[Delivery], delay: float, *, counts: bool
    ) -> None:
        channel = deliveries[0].channel
        server, topic = self._place(channel)
        for start in range(0, len(deliveries), BATCH):
            await scripts.give_back(
                server,
                (topic, self._peer.config.topics.delayed(channel)),
                [
                    part
                    for one in deliveries[start : start + BATCH]
                    for part in (one.receipt, one.attempt)
                ],
                delay_ms=max(int(delay * 1000), 0),
                lease_ms=self._lease_ms,
                expiry_ms=self._expiry_ms,
                counts=counts,
            )
