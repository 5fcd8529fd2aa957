"""One event loop's part in a Redis layer: its channels, its groups, its connections.

A layer object may be used from several event loops (threads, ``async_to_sync``); each gets a peer
of its own, with its own process id in its channel names, so that no two loops share any state.

Invariants
- One inbox topic per peer carries the messages to all its channels; a group's topic is listened to
  while the group has a member here. Redis knows nothing of single channels or members.
- Each group, inbox and named channel lives on one shard, chosen by its topic's name alone: sender
  and receiver always agree.
- What a subclass adds is how bytes travel: ``publish``, and what happens at a reconnection.
"""

import abc
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, ClassVar

from ...exceptions import (
    ChannelLayerUnavailable,
    ChannelNotOwned,
    MessageTooLarge,
    UndecodableMessage,
)
from ...mailbox import Mailbox, Message, Overflow
from ...names import ChannelNames, owner_of
from ..groups import LocalGroups
from ..throttled import ThrottledWarning
from .cluster import make_topology
from .endpoints import Endpoint
from .envelope import Messages, Uids, decode, encode, encode_message, place_of
from .membership import ANSWER, JOIN, LEAVE, ForeignMembership
from .outbox import Outbox, Request
from .serializers import BaseMessageSerializer
from .topics import Topics
from .topology import Commands, Events, Route

logger = logging.getLogger(__name__)

CACHED_NAMES = 4096  # of channels that were sent to


@dataclass(frozen=True)
class Config:
    """What the peers of one layer share."""

    endpoints: list[Endpoint]
    topics: Topics
    serializer: BaseMessageSerializer
    capacity_of: Callable[[str], int]
    expiry: float
    timeout: float
    max_message_size: int
    replicated: bool = False  # a send waits for a replica
    # Of all peers, by channel: the names are unique, and finding one so needs no look for the loop,
    # which costs CPython 3.11 a system call.
    own_mailboxes: dict[str, Mailbox] = field(default_factory=dict)


class Peer(abc.ABC):
    keyed: ClassVar[bool]  # its topics are keys too
    repeatable: ClassVar[bool]  # who gets an envelope twice knows it by its uid

    def __init__(self, config: Config) -> None:
        self.config = config
        self.names = ChannelNames()
        self.inbox = config.topics.inbox(self.names.process_id)
        self.local = LocalGroups(config.capacity_of, config.expiry)
        self.uids = Uids()
        self.binds = config.serializer.binds
        self._inbox_of = lru_cache(CACHED_NAMES)(config.topics.inbox_of)
        self._outbox = Outbox(
            config.timeout,
            self._request,
            repeatable=self.repeatable,
            replicated=config.replicated,
        )
        self.topology = make_topology(
            config.endpoints,
            config.timeout,
            Events(
                self.on_message, self.on_lost, self.on_subscribing, self.on_subscribed, self.on_open
            ),
            keyed=self.keyed,
        )
        self.start = self.topology.start
        self.poison = ThrottledWarning(logger, "%d undecodable message(s) skipped, the last: %s")
        self.failures = ThrottledWarning(logger, "%d notification(s) could not be handled, the last in %s: %r")
        self._handlers: dict[bytes, Callable[[bytes], None]] = {}
        self._foreign = ForeignMembership(
            self.names.process_id,
            config.timeout,
            self._post_to_process,
            join=self.group_add,
            leave=self.group_discard,
        )

    # How bytes travel

    @abc.abstractmethod
    def publication(self, topic: str, uid: bytes, messages: list[bytes]) -> Request:
        """What brings the messages, under uids from this one on, to every peer that listens."""

    @abc.abstractmethod
    def send_named(self, channel: str, payload: bytes) -> Awaitable[object]:
        """Bring a serialized message to one receiver of a named channel."""

    @abc.abstractmethod
    async def receive_named(self, channel: str) -> Message: ...

    @abc.abstractmethod
    def on_lost(self) -> None:
        """See ``Events`` for this and the following."""

    def on_subscribing(self, topics: list[str], since: float) -> Any:
        return None

    def on_subscribed(self, topics: list[str], mark: Any) -> None:
        pass

    @abc.abstractmethod
    def on_open(self) -> None: ...

    def open_envelope(self, topic: str, data: bytes) -> Messages:
        """The messages in what was published; none if they were received before."""
        return decode(data).messages

    # Channels and groups

    def send(self, channel: str, message: Message) -> Awaitable[object]:
        inbox = self._inbox_of(channel)
        if inbox is None:
            return self.send_named(channel, self.serialize(message))
        return self.post(inbox, channel, self.serialize(message))

    def group_send(self, group: str, message: Message) -> Awaitable[object]:
        return self.post(self.config.topics.group(group), "", self.serialize(message))

    def post(self, topic: str, channel: str, payload: bytes) -> Awaitable[object]:
        """Have the message published with others to the topic; to be awaited for that."""
        return self._outbox.send(topic, encode_message(channel, payload))

    def _request(self, topic: str, messages: list[bytes]) -> Request:
        uid = self.uids.make(len(messages))
        if self.binds:
            packed = decode(encode(uid, messages)).messages
            messages = [encode_message(one[0], self.bind(topic, *one)) for one in packed]
        return self.publication(topic, uid, messages)

    def bind(self, topic: str, channel: str, packed: bytes, number: int) -> bytes:
        """Encrypt what ``serialize`` has packed; what a peer tells another one goes as it is."""
        if not self.binds or channel.startswith((JOIN, LEAVE, ANSWER)):
            return packed
        return self.config.serializer.bind(packed, place_of(topic, channel, number))

    async def receive(self, channel: str) -> Message:
        if owner_of(channel) is None:
            return await self.receive_named(channel)
        raise ChannelNotOwned(channel)

    async def new_channel(self, prefix: str) -> str:
        channel = self.names.make(prefix)
        self.config.own_mailboxes[channel] = self.local.mailbox_of(channel)
        inbox = self.inbox
        if self.shard_of(inbox).subscriber.down:
            # Not an error: nothing can be sent to the channel before there is a broker again.
            self.listen_later(inbox, self._receive_in_inbox)
            return channel
        with contextlib.suppress(ChannelLayerUnavailable):
            await self.listen(inbox, self._receive_in_inbox)
        return channel

    def mailbox(self, channel: str, overflow: Overflow | None) -> Mailbox:
        mailbox = self.local.mailbox_of(channel, overflow)
        mailbox.wants_events = True
        return mailbox

    async def group_add(self, group: str, channel: str) -> None:
        owner = owner_of(channel)
        if owner is not None and owner != self.names.process_id:
            await self._change_foreign(JOIN, group, channel, owner)
        elif owner is None or channel in self.local.mailboxes:
            await self._add(group, channel)

    async def _add(self, group: str, channel: str) -> None:
        was_member = channel in self.local.members.get(group, ())
        self.local.join(group, channel)
        try:
            topic = self.config.topics.group(group)
            await self.listen(topic, partial(self._receive_in_group, group, topic))
        except BaseException:
            if not was_member:
                await self.group_discard(group, channel)
            raise

    async def group_discard(self, group: str, channel: str) -> None:
        owner = owner_of(channel)
        if owner is not None and owner != self.names.process_id:
            await self._change_foreign(LEAVE, group, channel, owner)
        elif self.local.leave(group, channel):
            self.ignore(self.config.topics.group(group))

    async def _change_foreign(self, mark: str, group: str, channel: str, owner: str) -> None:
        await self.listen(self.inbox, self._receive_in_inbox)  # for the answer
        await self._foreign.request(mark, group, channel, owner)

    def _post_to_process(self, process_id: str, channel: str, payload: bytes) -> Awaitable[object]:
        return self.post(self.config.topics.inbox(process_id), channel, payload)

    def close_channel(self, channel: str) -> None:
        self.config.own_mailboxes.pop(channel, None)
        for group in self.local.close(channel):
            self.ignore(self.config.topics.group(group))

    # Topics

    def shard_of(self, topic: str) -> Route:
        return self.topology.route(topic)

    async def listen(self, topic: str, handler: Callable[[bytes], None]) -> None:
        """Have ``handler(data)`` called for what is published to a group or an inbox."""
        await self.subscribe(topic, handler)

    def listen_later(self, topic: str, handler: Callable[[bytes], None]) -> None:
        """Listen from the next connection on, to a topic that nothing was published to yet."""
        self._handlers[topic.encode()] = handler
        self.shard_of(topic).subscriber.want(topic)

    async def subscribe(self, topic: str, handler: Callable[[bytes], None]) -> None:
        self._handlers[topic.encode()] = handler
        await self.shard_of(topic).subscriber.add(topic)

    def ignore(self, topic: str) -> None:
        self._handlers.pop(topic.encode(), None)
        self.shard_of(topic).subscriber.discard(topic)

    def on_message(self, topic: bytes, data: bytes) -> None:
        handler = self._handlers.get(topic)
        if handler is None:
            return
        try:
            handler(data)
        except ValueError as error:  # UndecodableMessage is one
            self.poison.add(error)
        except Exception as error:  # of this topic; the connection is for all of them
            self.failures.add(topic.decode(errors="replace"), error)

    # Messages

    def serialize(self, message: Message) -> bytes:
        """To be passed to ``bind`` when it is known where it goes."""
        serializer = self.config.serializer
        payload = serializer.pack(message) if self.binds else serializer.serialize(message)
        if len(payload) > self.config.max_message_size:
            raise MessageTooLarge(
                f"The message takes {len(payload)} bytes; max_message_size allows "
                f"{self.config.max_message_size}"
            )
        return payload

    def _receive_in_group(self, group: str, topic: str, data: bytes) -> None:
        self.deliver_to_group(group, topic, self.open_envelope(topic, data))

    def _receive_in_inbox(self, data: bytes) -> None:
        self.deliver_to_channels(self.open_envelope(self.inbox, data))

    def deliver_to_group(self, group: str, topic: str, messages: Messages) -> None:
        for sealed in messages:
            if (message := self.deserialize(topic, *sealed)) is not None:
                self.local.deliver_group(group, message)

    def deliver_to_channels(self, messages: Messages) -> None:
        for channel, payload, number in messages:
            if channel in self.local.mailboxes:
                message = self.deserialize(self.inbox, channel, payload, number)
                if message is not None:
                    self.local.deliver(channel, message)
            elif channel.startswith((JOIN, LEAVE, ANSWER)):
                self._foreign.receive(channel, payload)

    def deserialize(self, topic: str, channel: str, payload: bytes, number: int) -> Message | None:
        """None, and counted, if it cannot be decoded."""
        serializer = self.config.serializer
        try:
            if self.binds:
                return serializer.deserialize_at(payload, place_of(topic, channel, number))
            return serializer.deserialize(payload)
        except UndecodableMessage as error:
            self.poison.add(error)
            return None

    async def flush(self) -> None:
        for server in await self.topology.primaries():
            for key in await _scan(server, self.config.topics.pattern):
                await server.execute("UNLINK", key)
        for group in list(self.local.members):
            self.ignore(self.config.topics.group(group))
        self.local.clear()

    def forget_channels(self) -> None:
        for channel in self.local.mailboxes:
            self.config.own_mailboxes.pop(channel, None)

    async def aclose(self) -> None:
        self.forget_channels()
        await self._foreign.aclose()
        await self._outbox.aclose()
        await self.topology.aclose()


async def _scan(server: Commands, pattern: str) -> list[bytes]:
    keys: list[bytes] = []
    cursor: bytes | int = 0
    while True:
        cursor, page = await server.execute("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
        keys += page
        if int(cursor) == 0:
            return keys
