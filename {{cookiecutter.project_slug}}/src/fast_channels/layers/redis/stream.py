"""One named channel of the queue layer in Redis: a stream of jobs, and its dead letters beside it.

The stream has one consumer group. Workers read new entries; what a worker holds is an entry of the group's
pending list, whose idle time is the age of its lease. All that is known of a channel is in Redis.

Invariants
- An entry leaves the stream only when it is acknowledged, buried or expired; the stream itself
  expires a minute after the last entry could.
- An entry that has been pending for the time of a lease without being renewed is claimed by
  the next receiver that asks, one of them, and counts as one more attempt.
- An entry's number of attempts names its lease: a worker that comes with an older one has lost it. It
  may still acknowledge; whatever else it asks for is not done.
- What was given back with a delay is held by a consumer of its own until it is due, then it is an entry
  whose lease has ended.
- Dead letters are envelopes as they were sent, each with its attempts and the last reason: also what
  cannot be decoded is kept, and can be read when the keys that it needs are configured.
- A message is in its channel or among the dead letters, never in both and never in neither: each
  move is one script. At most about ``LETTERS_KEPT`` of a channel are kept; the oldest go first. They do
  not expire.
"""

import copy
from collections.abc import Sequence

from ...exceptions import ChannelFull, UndecodableMessage
from ..jobs import DeadLetter, Delivery, Depth, shortened
from . import scripts
from .batches import Outcome, Request
from .client.commands import PUBLISH, Commands
from .client.connection import Reply
from .format import Sealed, decode_one, encode, encode_message, number_of
from .loop_layer import LoopLayer
from .scripts import DELAYED, GROUP, WORKER
from .serializers import BaseMessageSerializer

BATCH = 1000  # entries in one command
LETTERS_KEPT = 10_000


class JobStream:
    """``lease_time`` is in seconds."""

    def __init__(self, owner: LoopLayer, lease_time: float, channel: str) -> None:
        topics = owner.config.topics
        self.channel = channel
        self.topic = topics.channel(channel)
        self._delayed = topics.delayed(channel)
        self._dead = topics.dead_letters(channel)  # all three share a slot
        self._owner = owner
        self._lease_ms = int(lease_time * 1000)
        self._expiry_ms = int(owner.config.expiry * 1000)

    @property
    def commands(self) -> Commands:
        return self._owner.commands_of(self.topic)

    @property
    def _capacity(self) -> int:
        return self._owner.config.capacity_of(self.channel)

    def _full(self) -> ChannelFull:
        return ChannelFull(f"Channel {self.channel} holds {self._capacity} unread messages")

    # Sending

    def envelope(self, uid: bytes, payload: bytes) -> bytes:
        """Of what ``LoopLayer.serialize`` has made."""
        bound = self._owner.bind(self.topic, ("", payload, number_of(uid)))
        return encode(uid, [encode_message("", bound)])

    def enqueue(self, envelopes: list[bytes]) -> Request:
        limits = self._capacity, self._expiry_ms
        command = scripts.ENQUEUE.command((self.topic,), *limits, PUBLISH, GROUP, *envelopes)
        return self.commands, command

    def outcomes(self, number: int, reply: Reply) -> list[Outcome]:
        """What the reply to ``enqueue`` means to each of so many envelopes."""
        accepted, expired = map(int, reply.split())
        self._owner.local.count_expired(expired)
        return [None if n < accepted else self._full() for n in range(number)]

    # Leases

    async def lease(
        self, handled: Sequence[str], count: int, *, claim: bool
    ) -> tuple[list[Delivery], list[tuple[Delivery, str]], bool]:
        """Removes the ``handled`` entries first, and looks for ended leases if it may ``claim`` them.

        Returns what was leased; what of it cannot be decoded, with the reason; and whether there may be more
        to take at once.
        """
        values = (GROUP, WORKER, DELAYED, count, self._lease_ms, self._expiry_ms, int(claim))
        expired, more, *parts = await scripts.LEASE.run(
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
        return bool(await scripts.RENEW.run(self.commands, (self.topic,), *values))

    async def acknowledge(self, receipts: Sequence[str]) -> None:
        for start in range(0, len(receipts), BATCH):
            some = receipts[start : start + BATCH]
            await scripts.ACKNOWLEDGE.run(self.commands, (self.topic,), GROUP, *some)

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
        limits = (delay_ms, self._lease_ms, self._expiry_ms, int(counts))
        for start in range(0, len(deliveries), BATCH):
            some = deliveries[start : start + BATCH]
            leases = [part for one in some for part in (one.receipt, one.attempt)]
            values = (GROUP, WORKER, DELAYED, *limits, PUBLISH, *leases)
            await scripts.GIVE_BACK.run(self.commands, (self.topic, self._delayed), *values)

    async def depth(self) -> Depth:
        *numbers, expired = await scripts.DEPTH.run(
            self.commands, (self.topic, self._dead), GROUP, self._expiry_ms
        )
        self._owner.local.count_expired(expired)
        return Depth(*numbers)

    # Dead letters

    async def bury(self, delivery: Delivery, reason: str) -> None:
        text = shortened(reason).encode(errors="backslashreplace")
        values = (GROUP, WORKER, delivery.receipt, delivery.attempt, text, LETTERS_KEPT)
        await scripts.BURY.run(self.commands, (self.topic, self._dead), *values)

    async def dead_letters(self, count: int, after: str) -> list[DeadLetter]:
        start = f"({after}" if after else "-"
        entries = await self.commands.execute("XRANGE", self._dead, start, "+", "COUNT", count)
        # An encrypted message is refused by its age; a letter may be read however old it is.
        serializer = copy.copy(self._owner.config.serializer)
        serializer.expiry = None
        return [self._letter(entry.decode(), fields, serializer) for entry, fields in entries]

    def _letter(
        self, receipt: str, fields: list[bytes], serializer: BaseMessageSerializer
    ) -> DeadLetter:
        values = dict(zip(fields[::2], fields[1::2], strict=True))
        identity, message = receipt, None
        reason = values.get(b"reason", b"").decode()
        try:
            job = decode_one(values.get(b"m", b""))
            identity = _id(job)
            message = self._owner.open(self.topic, job, serializer)
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
        if letter.message is None:
            raise UndecodableMessage(f"Dead letter {letter.id} cannot be decoded: {letter.reason}")
        # Sealed anew: the old seal may have expired.
        envelope = self.envelope(bytes.fromhex(letter.id), self._owner.serialize(letter.message))
        moved, expired = await scripts.REPLAY.run(
            self.commands,
            (self.topic, self._dead),
            *(letter.receipt, envelope, self._capacity, self._expiry_ms, PUBLISH),
            replicated=self._owner.config.replicated,
        )
        self._owner.local.count_expired(expired)
        if moved < 0:
            raise self._full()
        return bool(moved)

    async def discard(self, letter: DeadLetter) -> bool:
        return bool(await self.commands.execute("XDEL", self._dead, letter.receipt))


def _id(job: Sealed) -> str:
    """Its uid in hexadecimal."""
    return f"{job[2]:032x}"
