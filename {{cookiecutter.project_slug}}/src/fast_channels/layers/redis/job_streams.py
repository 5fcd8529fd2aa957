"""Jobs: the named channels of the queue layer, whose messages are leased, then acknowledged.

A named channel is a stream with one consumer group. Workers read new entries; what a worker holds
is an entry of the group's pending list, whose idle time is the age of its lease. Dead letters are
messages that were given up, in a stream beside their channel.

Invariants
- An entry leaves the stream only when it is acknowledged, buried or expired; the stream itself
  expires a minute after the last entry could.
- An entry that has been pending for ``lease_time`` seconds without being renewed is claimed by
  the next receiver that asks, one of them, and counts as one more attempt.
- An entry's number of attempts names its lease: a worker that comes with an older one has lost it. It
  may still acknowledge; whatever else it asks for is not done.
- What was given back with a delay is held by a consumer of its own until it is due, then it is an entry
  whose lease has ended.
- A channel on which nobody has received for ``IDLE_TIME`` seconds is forgotten, or earlier when there
  are ``MOST_IDLE`` others.
- Dead letters are envelopes as they were sent, each with its attempts and the last reason: also what
  cannot be decoded is kept, and can be read when the keys that it needs are configured.
- A message is in its channel or among the dead letters, never in both and never in neither: each
  move is one script. At most about ``LETTERS_KEPT`` of a channel are kept; the oldest go first. They do
  not expire.
- A named channel that is a member of a group gets the group's messages from the loop that added it.
"""

import asyncio
import contextlib
import copy
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from ...exceptions import (
    ChannelFull,
    ChannelLayerUnavailable,
    FastChannelsError,
    UndecodableMessage,
)
from ...mailbox import Mailbox, Message
from ...tasks import cancel_and_wait
from ..idle import IdleNames
from ..jobs import DeadLetter, Delivery, Depth, shortened
from ..throttled import ThrottledWarning
from . import scripts
from .batches import Batcher, Outcome, Request
from .client.commands import Commands
from .client.connection import Reply
from .format import Envelope, decode, encode, encode_message, number_of, place_of
from .loop_layer import LoopLayer, NamedChannels
from .receivers import LEASE_ENDED, Receivers
from .serializers import BaseMessageSerializer

logger = logging.getLogger(__name__)

BATCH = 1000  # entries in one command
IDLE_TIME = 10.0  # seconds
MOST_IDLE = 100  # channels
LETTERS_KEPT = 10_000


class Place(NamedTuple):
    """Where a named channel lives: the names of its keys, which share a slot."""

    commands: Commands
    stream: str
    delayed: str
    dead: str


class JobStreams(NamedChannels):
    """The named channels, as one loop uses them. ``lease_time`` is in seconds."""

    def __init__(self, owner: "LoopLayer[JobStreams]", lease_time: float) -> None:
        self._owner = owner
        self._topics = owner.config.topics
        self._loop = asyncio.get_running_loop()
        self._lease_ms = int(lease_time * 1000)
        self._expiry_ms = int(owner.config.expiry * 1000)
        self._batcher = Batcher(self._enqueue, self._outcomes, replicated=owner.config.replicated)
        self._receivers: dict[str, Receivers] = {}
        self._idle = IdleNames(self._forget, after=IDLE_TIME, most=MOST_IDLE)
        self._forwarders: dict[str, asyncio.Task[None]] = {}
        self.unforwarded = ThrottledWarning(
            logger, "%d group message(s) not forwarded, the last to channel %s: %s"
        )
        # An encrypted message is refused by its age; a letter may be read however old it is.
        self._letter_serializer = copy.copy(owner.config.serializer)
        self._letter_serializer.expiry = None

    def _place(self, channel: str) -> Place:
        topics, stream = self._topics, self._topics.channel(channel)
        commands = self._owner.commands_of(stream)
        return Place(commands, stream, topics.delayed(channel), topics.dead_letters(channel))

    # Sending

    def send(self, channel: str, payload: bytes) -> Awaitable[object]:
        return self._batcher.send(channel, self._seal(channel, self._owner.uids.make(), payload))

    def _seal(self, channel: str, uid: bytes, payload: bytes) -> bytes:
        bound = self._owner.bind(self._topics.channel(channel), "", payload, number_of(uid))
        return encode(uid, [encode_message("", bound)])

    def _enqueue(self, channel: str, envelopes: list[bytes]) -> Request:
        self._acknowledge_now(channel)
        stream = self._topics.channel(channel)
        command = scripts.enqueue(
            stream,
            envelopes,
            capacity=self._owner.config.capacity_of(channel),
            expiry_ms=self._expiry_ms,
        )
        return self._owner.commands_of(stream), command

    def _outcomes(self, channel: str, number: int, reply: Reply) -> list[Outcome]:
        accepted, expired = scripts.enqueued(reply)
        self._owner.local.count_expired(expired)
        return [None if n < accepted else self._full(channel) for n in range(number)]

    def _full(self, channel: str) -> ChannelFull:
        capacity = self._owner.config.capacity_of(channel)
        return ChannelFull(f"Channel {channel} holds {capacity} unread messages")

    # Receiving

    async def receive(self, channel: str) -> Message:
        """A message, removed from Redis as soon as it is handed over."""
        return await self._receivers_of(channel).receive()

    async def lease(self, channel: str, count: int) -> list[Delivery]:
        return await self._receivers_of(channel).lease(count)

    def _receivers_of(self, channel: str) -> Receivers:
        receivers = self._receivers.get(channel)
        if receivers is None:
            receivers = self._receivers[channel] = Receivers(self, channel)
        return receivers

    async def renew(self, delivery: Delivery) -> bool:
        place = self._place(delivery.channel)
        return await scripts.renew(place.commands, place.stream, delivery.receipt, delivery.attempt)

    async def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        by_channel: dict[str, list[str]] = {}
        for delivery in deliveries:
            by_channel.setdefault(delivery.channel, []).append(delivery.receipt)
        for channel, receipts in by_channel.items():
            place = self._place(channel)
            for start in range(0, len(receipts), BATCH):
                some = receipts[start : start + BATCH]
                await scripts.acknowledge(place.commands, place.stream, some)

    async def reject(self, delivery: Delivery, *, delay: float, final: bool, reason: str) -> None:
        if final:
            await self._bury(delivery, reason)
        else:
            await self._give_back([delivery], delay, counts=True)

    async def release(self, *deliveries: Delivery) -> None:
        """Give back what no handler has seen, of one channel; it does not count as an attempt."""
        await self._give_back(deliveries, 0.0, counts=False)

    async def _give_back(
        self, deliveries: Sequence[Delivery], delay: float, *, counts: bool
    ) -> None:
        place = self._place(deliveries[0].channel)
        for start in range(0, len(deliveries), BATCH):
            some = deliveries[start : start + BATCH]
            await scripts.give_back(
                place.commands,
                (place.stream, place.delayed),
                [part for one in some for part in (one.receipt, one.attempt)],
                delay_ms=max(int(delay * 1000), 0),
                lease_ms=self._lease_ms,
                expiry_ms=self._expiry_ms,
                counts=counts,
            )

    async def depth(self, channel: str) -> Depth:
        self._acknowledge_now(channel)
        place = self._place(channel)
        *numbers, expired = await scripts.depth(
            place.commands, (place.stream, place.dead), expiry_ms=self._expiry_ms
        )
        self._owner.local.count_expired(expired)
        return Depth(*numbers)

    def _acknowledge_now(self, channel: str) -> None:
        """What has been received takes no room any more when the next command is executed."""
        if (receivers := self._receivers.get(channel)) is not None:
            receivers.acknowledge()

    # For the receivers

    def begin_use(self, channel: str) -> None:
        self._idle.use(channel)

    def end_use(self, channel: str) -> None:
        self._idle.leave(channel)

    async def listen(self, channel: str, on_notification: Callable[[bytes], None]) -> None:
        await self._owner.subscribe(self._topics.channel(channel), on_notification)

    def request_leases(
        self, channel: str, handled: list[str], count: int, *, claim: bool
    ) -> Request:
        place = self._place(channel)
        command = scripts.lease(
            (place.stream, place.delayed),
            handled,
            count=count,
            lease_ms=self._lease_ms,
            expiry_ms=self._expiry_ms,
            claim=claim,
        )
        return place.commands, command

    def decode_leases(
        self, channel: str, reply: Reply
    ) -> tuple[list[Delivery], list[tuple[Delivery, str]], bool]:
        leased, expired, more = scripts.leased(reply)
        self._owner.local.count_expired(expired)
        deliveries, unreadable = [], []
        for entry, sealed, attempt in leased:
            receipt = entry.decode()
            try:
                envelope = decode(sealed)
                message = self._message_in(channel, envelope, self._owner.config.serializer)
            except UndecodableMessage as error:
                self._owner.undecodable.add(error)
                unreadable.append((Delivery(channel, {}, "", attempt, receipt), repr(error)))
            else:
                uid = envelope.uid.hex()
                deliveries.append(Delivery(channel, message, uid, attempt, receipt))
        return deliveries, unreadable, more

    def _message_in(
        self, channel: str, envelope: Envelope, serializer: BaseMessageSerializer
    ) -> Message:
        if not self._owner.binds:
            return serializer.deserialize(envelope.payload)
        place = place_of(self._topics.channel(channel), "", number_of(envelope.uid))
        return serializer.deserialize_at(envelope.payload, place)

    def acknowledge_soon(self, channel: str, receipts: list[str]) -> None:
        place = self._place(channel)
        if (connection := place.commands.connection) is not None:
            connection.post("XACK", place.stream, scripts.GROUP, *receipts)
            connection.post("XDEL", place.stream, *receipts)

    async def bury(self, delivery: Delivery, reason: str) -> None:
        with contextlib.suppress(ChannelLayerUnavailable):  # it comes again
            await self._bury(delivery, reason)

    # Dead letters

    async def _bury(self, delivery: Delivery, reason: str) -> None:
        place = self._place(delivery.channel)
        await scripts.bury(
            place.commands,
            (place.stream, place.dead),
            delivery.receipt,
            delivery.attempt,
            reason=shortened(reason).encode(errors="backslashreplace"),
            keep=LETTERS_KEPT,
        )

    async def dead_letters(self, channel: str, count: int, after: str) -> list[DeadLetter]:
        place = self._place(channel)
        start = f"({after}" if after else "-"
        entries = await place.commands.execute("XRANGE", place.dead, start, "+", "COUNT", count)
        return [self._letter(channel, entry.decode(), fields) for entry, fields in entries]

    def _letter(self, channel: str, receipt: str, fields: list[bytes]) -> DeadLetter:
        values = dict(zip(fields[::2], fields[1::2], strict=True))
        identity, message = receipt, None
        reason = values.get(b"reason", b"").decode()
        try:
            envelope = decode(values.get(b"m", b""))
            identity = envelope.uid.hex()
            message = self._message_in(channel, envelope, self._letter_serializer)
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

    async def replay(self, channel: str, letter: DeadLetter) -> bool:
        if letter.message is None:
            raise UndecodableMessage(f"Dead letter {letter.id} cannot be decoded: {letter.reason}")
        place = self._place(channel)
        # Sealed anew: the old seal may have expired.
        payload = self._owner.serialize(letter.message)
        moved, expired = await scripts.replay(
            place.commands,
            (place.stream, place.dead),
            letter.receipt,
            self._seal(channel, bytes.fromhex(letter.id), payload),
            capacity=self._owner.config.capacity_of(channel),
            expiry_ms=self._expiry_ms,
            replicated=self._owner.config.replicated,
        )
        self._owner.local.count_expired(expired)
        if moved < 0:
            raise self._full(channel)
        return bool(moved)

    async def discard(self, channel: str, letter: DeadLetter) -> bool:
        place = self._place(channel)
        return bool(await place.commands.execute("XDEL", place.dead, letter.receipt))

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
        self._owner.ignore(self._topics.channel(channel))
        return True

    def on_open(self) -> None:
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
