"""Dead letters of the queue layer: messages that were given up, kept beside their channel.

Invariants
- They are a stream of envelopes as they were sent, each with its attempts and the last reason: also
  what cannot be decoded is kept, and can be read when the keys that it needs are configured.
- A message is in its channel or among the dead letters, never in both and never in neither: each
  move is one script.
- At most about ``KEPT`` letters of a channel are kept; the oldest go first. They do not expire.
"""

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...exceptions import ChannelFull, UndecodableMessage
from ...mailbox import Message
from ..jobs import DeadLetter, Delivery, shortened
from . import scripts
from .envelope import Envelope, decode
from .serializers import BaseMessageSerializer
from .topology import Commands

if TYPE_CHECKING:
    from .peer import Peer

KEPT = 10_000


class DeadLetters:
    """The dead letters of all named channels, as one peer sees them."""

    def __init__(
        self,
        peer: "Peer",
        seal: Callable[[str, bytes, bytes], bytes],
        message_in: Callable[[str, Envelope, BaseMessageSerializer], Message],
    ) -> None:
        self._seal = seal
        self._message_in = message_in
        self._peer = peer
        # An encrypted message is refused by its age; a letter may be read however old it is.
        self._reader = copy.copy(peer.config.serializer)
        self._reader.expiry = None

    async def bury(self, delivery: Delivery, reason: str) -> None:
        server, keys = self._place(delivery.channel)
        await scripts.bury(
            server,
            keys,
            delivery.receipt,
            delivery.attempt,
            reason=shortened(reason).encode(errors="backslashreplace"),
            keep=KEPT,
        )

    async def read(self, channel: str, count: int, after: str) -> list[DeadLetter]:
        server, (_, dead) = self._place(channel)
        start = f"({after}" if after else "-"
        entries = await server.execute("XRANGE", dead, start, "+", "COUNT", count)
        return [self._open(channel, entry.decode(), fields) for entry, fields in entries]

    async def replay(self, channel: str, letter: DeadLetter) -> bool:
        if letter.message is None:
            raise UndecodableMessage(f"Dead letter {letter.id} cannot be decoded: {letter.reason}")
        config = self._peer.config
        server, keys = self._place(channel)
        # Sealed anew: the old seal may have expired.
        payload = self._peer.serialize(letter.message)
        envelope = self._seal(channel, bytes.fromhex(letter.id), payload)
        capacity = config.capacity_of(channel)
        moved, expired = await scripts.replay(
            server,
            keys,
            letter.receipt,
            envelope,
            capacity=capacity,
            expiry_ms=int(config.expiry * 1000),
            replicated=config.replicated,
        )
        self._peer.local.count_expired(expired)
        if moved < 0:
            raise ChannelFull(f"Channel {channel} holds {capacity} unread messages")
        return bool(moved)

    async def discard(self, channel: str, letter: DeadLetter) -> bool:
        server, (_, dead) = self._place(channel)
        return bool(await server.execute("XDEL", dead, letter.receipt))

    def _place(self, channel: str) -> tuple[Commands, tuple[str, str]]:
        topics = self._peer.config.topics
        topic = topics.channel(channel)
        return self._peer.shard_of(topic).commands, (topic, topics.dead_letters(channel))

    def _open(self, channel: str, receipt: str, fields: list[bytes]) -> DeadLetter:
        values = dict(zip(fields[::2], fields[1::2], strict=True))
        identity, message = receipt, None
        reason = values.get(b"reason", b"").decode()
        try:
            envelope = decode(values.get(b"m", b""))
            identity = envelope.uid.hex()
            message = self._message_in(channel, envelope, self._reader)
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
