"""The queue layer: nothing that was accepted is lost before it expires.

To consumers, each message once and in the order of its sender. A group's (or an inbox's) messages
are appended to a log, a Redis stream, and published, in one script. Listeners receive what is
published; after a broken connection they read from the log what they missed. A sender whose
connection breaks repeats the message under the same uid, and receivers hand out each uid once.
To receivers of a named channel, at least once; see ``named.py``.

What is lost, and when
- a message that nobody read for ``expiry`` seconds, or that ``history`` younger ones followed while
  a listener was cut off;
- a message that finds a consumer's mailbox full: by the consumer's policy, counted and logged;
- with the server: what it had not written to disk (``appendfsync``) or, without
  ``durability="replicated"``, had not passed on to the replica that takes its place.
"""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast, get_args

from ...exceptions import ChannelLayerUnavailable, FastChannelsError, UndecodableMessage
from ...mailbox import Message
from ...utils import cancel_and_wait
from ..base import owner_of
from ..tally import Tally
from . import scripts
from .envelope import Messages, decode, number_of, with_uid_after
from .history import BEGINNING, Position, Seen
from .named import NamedChannels
from .outbox import Request
from .peer import Config, Peer
from .type_defs import Hosts
from .work_queue import RedisWorkQueue

logger = logging.getLogger(__name__)

Durability = Literal["memory", "replicated"]

PAGE = 50  # entries read at once when recovering; less than a mailbox holds by default
PAGE_PATIENCE = 0.5  # seconds that recovery waits for consumers to make room


class RedisChannelLayer(RedisWorkQueue):
    """``history`` is how many messages of each group a listener that is cut off can catch up on.

    ``lease`` is how long a worker may hold a message without renewing it, in seconds, before
    another one gets it. ``durability="replicated"`` has a send return only when at least one
    replica has the message too; ``"memory"`` when the primary has it. ``group_expiry`` is accepted
    for compatibility: a member stays until it leaves, closes or its process ends. See
    ``RedisLayer`` for the rest.
    """

    def __init__(
        self,
        hosts: Hosts | None = None,
        prefix: str = "asgi",
        expiry: float = 60,
        group_expiry: int = 86400,
        capacity: int = 100,
        channel_capacity: Mapping[str | re.Pattern[str], int] | None = None,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        random_prefix_length: int = 12,
        serializer_format: str = "msgpack",
        *,
        history: int = 10_000,
        lease: float = 30.0,
        durability: Durability = "memory",
        **options: Any,
    ) -> None:
        if durability not in get_args(Durability):
            raise ValueError(
                f"durability must be one of {get_args(Durability)}, not {durability!r}"
            )
        self.group_expiry = group_expiry
        self.durability = durability
        self.history = history
        self.lease_time = lease
        super().__init__(
            hosts,
            prefix,
            expiry=expiry,
            capacity=capacity,
            channel_capacity=channel_capacity,
            symmetric_encryption_keys=symmetric_encryption_keys,
            random_prefix_length=random_prefix_length,
            serializer_format=serializer_format,
            **options,
        )
        self._config = replace(self._config, replicated=durability == "replicated")

    def _make_peer(self, config: Config) -> "QueuePeer":
        return QueuePeer(config, self.history, self.lease_time)

    @property
    def _named(self) -> NamedChannels:
        return cast(QueuePeer, self._peer).named


class QueuePeer(Peer):
    keyed = True
    repeatable = True

    def __init__(self, config: Config, history: int, lease_time: float) -> None:
        super().__init__(config)
        self.named = NamedChannels(self, lease_time)
        self._history = history
        # The inbox is as new as the process id in its name: all that its log holds is for us.
        self._positions = {self.inbox: Position(BEGINNING, BEGINNING, recovering=True)}
        self._seen = Seen()
        self._expiry_ms = int(config.expiry * 1000)
        self._forwarders: dict[str, asyncio.Task[None]] = {}
        self._recoveries: set[asyncio.Task[None]] = set()
        self.unforwarded = Tally(
            logger, "%d group message(s) not forwarded, the last to channel %s: %s"
        )

    # Sending

    def publication(self, topic: str, uid: bytes, messages: list[bytes]) -> Request:
        server = self.shard_of(topic).commands
        command = scripts.publish(
            topic,
            uid,
            messages,
            keep=self._history,
            expiry_ms=self._expiry_ms,
            by_bus=server.by_bus,
        )
        return server, command

    def send_named(self, channel: str, payload: bytes) -> Awaitable[object]:
        return self.named.send(channel, payload)

    async def receive_named(self, channel: str) -> Message:
        return await self.named.receive(channel)

    # A named channel in a group: the peer that added it forwards the group's messages to it

    async def group_add(self, group: str, channel: str) -> None:
        await super().group_add(group, channel)
        if owner_of(channel) is None and channel not in self._forwarders:
            self._forwarders[channel] = asyncio.create_task(self._forward(channel))

    async def group_discard(self, group: str, channel: str) -> None:
        await super().group_discard(group, channel)
        if channel in self._forwarders and not self.local.is_member(channel):
            self._forwarders.pop(channel).cancel()
            self.local.close(channel)

    def close_channel(self, channel: str) -> None:
        super().close_channel(channel)
        if owner_of(channel) is None:
            self.named.forget(channel)
            if (forwarder := self._forwarders.pop(channel, None)) is not None:
                forwarder.cancel()

    async def _forward(self, channel: str) -> None:
        mailbox = self.local.open(channel)
        while True:
            message = await mailbox.get()
            try:
                await self.send_named(channel, self.serialize(message))
            except FastChannelsError as error:
                self.unforwarded.add(channel, error)

    # Listening

    async def listen(self, topic: str, handler: Callable[[bytes], None]) -> None:
        await super().listen(topic, handler)
        if topic not in self._positions:
            await self._mark(topic)
        elif self._positions[topic].recovering:
            await self._recover(topic)

    def ignore(self, topic: str) -> None:
        super().ignore(topic)
        self._positions.pop(topic, None)

    def open_envelope(self, topic: str, data: bytes) -> Messages:
        parts = data.split(b" ", 2)
        if len(parts) < 3:
            raise UndecodableMessage("A notification without the id of its log entry")
        entry, before, sealed = parts
        position = self._positions.get(topic)
        if position is not None:
            if position.recovering:
                position.missed = True  # it is in the log, behind what is being read
                return []
            if position.misses(before):
                position.recovering = position.missed = True
                self._recover_soon(topic)
                return []
            position.advance(entry)
        envelope = decode(sealed)
        first = number_of(envelope.uid)
        number = len(envelope.messages)
        # For one message a tuple: to look it up and to add it takes half the time that a range takes.
        uids: Sequence[int] = (first,) if number == 1 else range(first, first + number)
        fresh = self._seen.add(uids)
        if fresh is uids:
            return envelope.messages
        return [envelope.messages[uid - first] for uid in fresh]

    def _recover_soon(self, topic: str) -> None:
        task = asyncio.create_task(self._recover_while_out(topic))
        self._recoveries.add(task)
        task.add_done_callback(self._recoveries.discard)

    async def _recover_while_out(self, topic: str) -> None:
        position = self._positions.get(topic)
        while position is not None and position.recovering:
            with contextlib.suppress(ChannelLayerUnavailable):
                await self._recover(topic)

    async def _mark(self, topic: str) -> None:
        """Remember where the log ends: what comes later is ours."""
        server = self.shard_of(topic).commands
        newest = await server.execute("XREVRANGE", topic, "+", "-", "COUNT", 1)
        end = newest[0][0] if newest else BEGINNING
        if self.shard_of(topic).subscriber.wants(topic):
            self._positions.setdefault(topic, Position(joined=end, last=end))

    async def flush(self) -> None:
        await super().flush()
        self.named.drop_leased()
        for position in self._positions.values():
            position.joined = position.last = BEGINNING

    async def aclose(self) -> None:
        await cancel_and_wait([*self._forwarders.values(), *self._recoveries])
        await self.named.aclose()
        await super().aclose()

    # Recovering

    def on_lost(self, topics: list[str]) -> None:
        for topic in topics:
            if topic in self._positions:
                self._positions[topic].recovering = True

    async def on_open(self, topics: list[str]) -> None:
        try:
            await asyncio.gather(*(self._recover(topic) for topic in topics))
        except BaseException:
            self.on_lost(topics)  # the connection is given up; what was recovered starts again
            raise
        self.named.wake_all()

    async def _recover(self, topic: str) -> None:
        position = self._positions.get(topic)
        if position is None or not position.recovering:
            return
        start = position.resume_from()
        while True:
            position.missed = False
            page = await self.shard_of(topic).commands.execute(
                "XRANGE", topic, start, "+", "COUNT", PAGE
            )
            for entry, fields in page:
                self._replay(topic, position, entry, fields)
            if page:
                start = "(" + page[-1][0].decode()
                await self._make_room()
            elif not position.missed:
                position.recovering = False
                return

    def _replay(self, topic: str, position: Position, entry: bytes, fields: list[bytes]) -> None:
        envelope = fields[1]
        if len(fields) > 2:
            try:
                envelope = with_uid_after(envelope, int(fields[3]))
            except (ValueError, OverflowError) as error:  # somebody else's
                self.poison.add(error)
                return
        position.recovering = False
        self.on_message(topic.encode(), entry + b" - " + envelope)
        position.recovering = True

    async def _make_room(self) -> None:
        """Let the consumers handle a page before the next one comes."""
        deadline = time.monotonic() + PAGE_PATIENCE
        # Many mailboxes, none of which signals room: polled.
        while self.local.crowded and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
