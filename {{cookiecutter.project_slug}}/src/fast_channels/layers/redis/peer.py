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
import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, ClassVar

from ...exceptions import ChannelLayerUnavailable, MessageTooLarge, UndecodableMessage
from ...mailbox import Mailbox, Message, Overflow
from ..base import ChannelNames, owner_of
from ..local import LocalDelivery
from ..tally import Tally
from .cluster import make_topology
from .endpoints import Endpoint
from .envelope import Messages, Uids, decode, encode_message
from .outbox import Outbox, Request
from .serializers import BaseMessageSerializer
from .topics import Topics
from .topology import Commands, Events, Route

logger = logging.getLogger(__name__)

CACHED_NAMES = 4096  # of channels that were sent to
JOIN, LEAVE = "+", "-"  # before the channel name in an envelope: its payload is a group to join


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
        self.local = LocalDelivery(config.capacity_of, config.expiry)
        self.uids = Uids()
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
        self.poison = Tally(logger, "%d undecodable message(s) skipped, the last: %s")
        self.failures = Tally(logger, "%d notification(s) could not be handled, the last in %s: %r")
        self._handlers: dict[bytes, Callable[[bytes], None]] = {}
        self._joining: set[asyncio.Task[None]] = set()

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
        return self.publication(topic, self.uids.make(len(messages)), messages)

    async def receive(self, channel: str) -> Message:
        if owner_of(channel) is None:
            return await self.receive_named(channel)
        return await self.local.open(channel).get()

    async def new_channel(self, prefix: str) -> str:
        channel = self.names.make(prefix)
        self.config.own_mailboxes[channel] = self.local.open(channel)
        inbox = self.inbox
        if self.shard_of(inbox).subscriber.down:
            # Not an error: nothing can be sent to the channel before there is a broker again.
            self.listen_later(inbox, self._receive_in_inbox)
            return channel
        with contextlib.suppress(ChannelLayerUnavailable):
            await self.listen(inbox, self._receive_in_inbox)
        return channel

    def mailbox(self, channel: str, overflow: Overflow | None) -> Mailbox:
        mailbox = self.local.open(channel, overflow)
        mailbox.wants_events = True
        return mailbox

    async def group_add(self, group: str, channel: str) -> None:
        if self._is_foreign(channel):
            await self._control(JOIN, group, channel)
            return
        self.local.join(group, channel)
        try:
            topic = self.config.topics.group(group)
            await self.listen(topic, partial(self._receive_in_group, group, topic))
        except BaseException:
            await self.group_discard(group, channel)
            raise

    async def group_discard(self, group: str, channel: str) -> None:
        if self._is_foreign(channel):
            await self._control(LEAVE, group, channel)
        elif self.local.leave(group, channel):
            self.ignore(self.config.topics.group(group))

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
        payload = self.config.serializer.serialize(message)
        if len(payload) > self.config.max_message_size:
            raise MessageTooLarge(
                f"The message takes {len(payload)} bytes; max_message_size allows "
                f"{self.config.max_message_size}"
            )
        return payload

    def _receive_in_group(self, group: str, topic: str, data: bytes) -> None:
        self.deliver_to_group(group, self.open_envelope(topic, data))

    def _receive_in_inbox(self, data: bytes) -> None:
        self.deliver_to_channels(self.open_envelope(self.inbox, data))

    def deliver_to_group(self, group: str, messages: Messages) -> None:
        for _, payload in messages:
            if (message := self.deserialize(payload)) is not None:
                self.local.deliver_group(group, message)

    def deliver_to_channels(self, messages: Messages) -> None:
        for channel, payload in messages:
            if channel in self.local.mailboxes:
                if (message := self.deserialize(payload)) is not None:
                    self.local.deliver(channel, message)
            elif channel.startswith((JOIN, LEAVE)):
                self._obey(channel[0], channel[1:], payload.decode("ascii"))

    def deserialize(self, payload: bytes) -> Message | None:
        """None, and counted, if it cannot be decoded."""
        try:
            return self.config.serializer.deserialize(payload)
        except UndecodableMessage as error:
            self.poison.add(error)
            return None

    # Channels of other peers: their owner changes the membership

    def _is_foreign(self, channel: str) -> bool:
        return owner_of(channel) not in (None, self.names.process_id)

    async def _control(self, mark: str, group: str, channel: str) -> None:
        inbox = self._inbox_of(channel)
        if inbox is not None:
            await self.post(inbox, mark + channel, group.encode())

    def _obey(self, mark: str, channel: str, group: str) -> None:
        if mark == LEAVE:
            if self.local.leave(group, channel):
                self.ignore(self.config.topics.group(group))
        elif channel in self.local.mailboxes:
            task = asyncio.create_task(self.group_add(group, channel))
            self._joining.add(task)
            task.add_done_callback(self._joined)

    def _joined(self, task: "asyncio.Task[None]") -> None:
        self._joining.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("A channel could not be added to a group from outside: %s", error)

    async def flush(self) -> None:
        for server in await self.topology.primaries():
            for key in await _scan(server, self.config.topics.pattern):
                await server.execute("UNLINK", key)
        for group in list(self.local.groups):
            self.ignore(self.config.topics.group(group))
        self.local.clear()

    def forget_channels(self) -> None:
        for channel in self.local.mailboxes:
            self.config.own_mailboxes.pop(channel, None)

    async def aclose(self) -> None:
        self.forget_channels()
        for task in self._joining:
            task.cancel()
        self._outbox.close()
        await self.topology.aclose()


async def _scan(server: Commands, pattern: str) -> list[bytes]:
    keys: list[bytes] = []
    cursor: bytes | int = 0
    while True:
        cursor, page = await server.execute("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
        keys += page
        if int(cursor) == 0:
            return keys
