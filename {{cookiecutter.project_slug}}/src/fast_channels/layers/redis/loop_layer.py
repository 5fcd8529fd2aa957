"""One event loop's part in a Redis layer: its channels, its groups, its connections.

A layer object may be used from several event loops (threads, ``async_to_sync``); each gets a loop layer
of its own, with its own process id in its channel names, so that no two loops share any state.

Invariants
- One inbox topic per loop carries the messages to all its channels; a group's topic is subscribed
  while the group has a member here. Redis knows nothing of single channels or members.
- Each group, inbox and named channel lives on one shard, chosen by its topic's name alone: sender
  and receiver always agree.
- How a message to those that listen travels is the ``Strategy``'s to say, and what becomes of one to a
  named channel the ``NamedChannels``'. This module knows neither logs nor jobs.

Invariants of groups of channels that another process owns
- A request to join or to leave one returns when the owner has answered, which it does after the change has
  taken effect: what is sent to the group from then on reaches, or does not reach, the channel.
- No answer within ``timeout`` seconds, or one that tells a failure, is ``ChannelLayerUnavailable``.
- An owner works on at most ``MOST_REQUESTS`` at a time; those beyond get no answer.
- A channel that its owner has closed is in no group; to add or to discard it is no error, as it is
  none for the owner itself.
"""

import abc
import asyncio
import contextlib
import copy
import logging
import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import count
from typing import Any, ClassVar

from ...exceptions import (
    ChannelLayerUnavailable,
    ChannelNotOwned,
    FastChannelsError,
    MessageTooLarge,
    UndecodableMessage,
)
from ...mailbox import Mailbox, Message, Overflow
from ...names import ChannelNames, check_channel_name, check_group_name, owner_of
from ...tasks import cancel_and_wait
from ..groups import LocalGroups
from ..throttled import ThrottledWarning
from .batches import Batcher, Request
from .client.commands import Command, Commands
from .client.servers import Events, Servers
from .format import Messages, Sealed, Topics, decode, encode, encode_message, place_of
from .serializers import BaseMessageSerializer

logger = logging.getLogger(__name__)

CACHED_NAMES = 4096  # of channels and groups that were sent to

# A request travels to the owner's inbox as a message to the channel ``+<channel>`` or ``-<channel>``, the
# answer to the requester's inbox as one to the channel ``=``.
JOIN, LEAVE, ANSWER = "+", "-", "="
MOST_REQUESTS = 1000
PROCESS_ID = re.compile(r"[0-9a-f]{16}\Z")


@dataclass(frozen=True)
class Config:
    """What the loop layers of one layer share."""

    connect: Callable[[Events, bool], Servers]  # True if topics are keys too
    topics: Topics
    serializer: BaseMessageSerializer
    capacity_of: Callable[[str], int]
    expiry: float
    timeout: float
    max_message_size: int
    replicated: bool = False  # a send waits for a replica


class Strategy(abc.ABC):
    """How messages reach those that listen to a topic. For ``on_…`` see ``Events``."""

    # Topics are keys too. And a batch may be sent again: a receiver knows by the uids what it has got.
    keeps: ClassVar[bool]

    @abc.abstractmethod
    def publish(self, topic: str, uid: bytes, messages: list[bytes]) -> Command:
        """What brings the messages, under uids from this one on, to every loop that listens."""

    @abc.abstractmethod
    def hear(self, topic: str, data: bytes) -> None:
        """Have ``LoopLayer.deliver`` deliver what of a notification is to be delivered now."""

    async def listen(self, topic: str, subscribe: Callable[[], Awaitable[None]]) -> None:
        """Subscribe; what is published when this has returned is heard."""
        await subscribe()

    def ignore(self, topic: str) -> None:
        """The topic is not listened to any more."""

    def restart(self) -> None:
        """Everything in Redis was deleted."""

    def on_subscribing(self, topics: list[str], since: float) -> Any:
        return None

    def on_subscribed(self, topics: list[str], mark: Any, /) -> None:
        pass

    def on_lost(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


class NamedChannels(abc.ABC):
    """The channels that no process owns, as one loop uses them."""

    @abc.abstractmethod
    def send(self, channel: str, payload: bytes) -> Awaitable[object]:
        """Bring what ``LoopLayer.serialize`` has made to the channel."""

    @abc.abstractmethod
    async def receive(self, channel: str) -> Message: ...

    @abc.abstractmethod
    def close(self, channel: str, mailbox: Mailbox | None) -> None:
        """``mailbox`` is the one that the channel had here."""

    def joined(self, channel: str) -> None:
        """It is a member of a group, by this loop."""

    def left(self, channel: str) -> None:
        """It has left a group."""

    def restart(self) -> None:
        """Everything in Redis was deleted."""

    @abc.abstractmethod
    async def aclose(self) -> None: ...


class Uids:
    """Makes the uids of one sender."""

    def __init__(self) -> None:
        self._sender = os.urandom(8)
        self._next = 0

    def make(self, number: int = 1) -> bytes:
        """The first of so many new ones."""
        first = self._next
        self._next += number
        return self._sender + first.to_bytes(8, "big")


class LoopLayer:
    # Its ``aclose()`` closes the loop layer; the event loop calls it at its own end.
    end: AsyncGenerator[None, None]

    def __init__(
        self,
        config: Config,
        make_strategy: "Callable[[LoopLayer], Strategy]",
        make_named: "Callable[[LoopLayer], NamedChannels]",
    ) -> None:
        self.config = config
        self.names = ChannelNames()
        self.inbox = config.topics.inbox(self.names.process_id)
        self.local = LocalGroups(config.capacity_of, config.expiry)
        self.uids = Uids()
        self.binds = config.serializer.binds
        self.undecodable = ThrottledWarning(
            logger, "%d undecodable message(s) skipped, the last: %s"
        )
        self.failures = ThrottledWarning(
            logger, "%d notification(s) could not be handled, the last in %s: %r"
        )
        self._inbox_of = lru_cache(CACHED_NAMES)(config.topics.inbox_of)
        self._topic_of = lru_cache(CACHED_NAMES)(config.topics.group)
        self._group_of = lru_cache(CACHED_NAMES)(config.topics.group_of)
        self.closed = False
        # Called when all is listened to once more: notifications may have been missed.
        self.openings: list[Callable[[], None]] = []
        self.strategy = strategy = make_strategy(self)
        self._handlers: dict[bytes, Callable[[bytes], None]] = {
            self.inbox.encode(): partial(strategy.hear, self.inbox)
        }
        self._batcher = Batcher(
            self.batch_request, repeatable=strategy.keeps, replicated=config.replicated
        )
        events = Events(
            self.on_message,
            strategy.on_lost,
            strategy.on_subscribing,
            strategy.on_subscribed,
            self._on_open,
        )
        self.topology = config.connect(events, strategy.keeps)
        self.named = make_named(self)
        self._foreign = ForeignMembership(self)

    def start(self) -> None:
        self.topology.start()

    def _on_open(self) -> None:
        for opened in self.openings:
            opened()

    # Channels and groups

    def send(self, channel: str, message: Message) -> Awaitable[object]:
        inbox = self._inbox_of(channel)
        if inbox is None:
            return self.named.send(channel, self.serialize(message))
        return self.post(inbox, channel, self.serialize(message))

    def group_send(self, group: str, message: Message) -> Awaitable[object]:
        payload = self.serialize(message)
        return self._batcher.send(self._topic_of(group), encode_message("", payload))

    def post(self, topic: str, channel: str, payload: bytes) -> Awaitable[object]:
        """Have the message published with others to the topic; to be awaited for that."""
        return self._batcher.send(topic, encode_message(channel, payload))

    def batch_request(self, topic: str, messages: list[bytes]) -> Request:
        uid = self.uids.make(len(messages))
        if self.binds:
            packed = decode(encode(uid, messages))
            messages = [encode_message(one[0], self.bind(topic, one)) for one in packed]
        return self.commands_of(topic), self.strategy.publish(topic, uid, messages)

    def bind(self, topic: str, packed: Sealed) -> bytes:
        """Encrypt what ``serialize`` has packed; what a process tells another one goes as it is."""
        if not self.binds or packed[0].startswith((JOIN, LEAVE, ANSWER)):
            return packed[1]
        return self.config.serializer.bind(packed[1], place_of(topic, packed))

    async def receive(self, channel: str) -> Message:
        if owner_of(channel) is None:
            return await self.named.receive(channel)
        raise ChannelNotOwned(channel)

    async def new_channel(self, prefix: str) -> str:
        channel = self.names.make(prefix)
        self.local.mailbox_of(channel)
        if self.topology.down(self.inbox):
            # Not an error: nothing can be sent to the channel before there is a broker again.
            self.topology.want(self.inbox)
        else:
            with contextlib.suppress(ChannelLayerUnavailable):
                await self.listen(self.inbox)
        return channel

    def mailbox(self, channel: str, overflow: Overflow | None) -> Mailbox:
        mailbox = self.local.mailbox_of(channel, overflow)
        mailbox.wants_events = True
        return mailbox

    async def group_add(self, group: str, channel: str) -> None:
        owner = owner_of(channel)
        if owner is not None and owner != self.names.process_id:
            await self._foreign.request(JOIN, group, channel, owner)
        elif owner is None or channel in self.local.mailboxes:
            await self.join(group, channel)
            if owner is None:
                self.named.joined(channel)

    async def join(self, group: str, channel: str) -> None:
        was_member = channel in self.local.members.get(group, ())
        self.local.join(group, channel)
        try:
            await self.listen(self.config.topics.group(group))
        except BaseException:
            if not was_member:
                await self.group_discard(group, channel)
            raise

    async def group_discard(self, group: str, channel: str) -> None:
        owner = owner_of(channel)
        if owner is not None and owner != self.names.process_id:
            await self._foreign.request(LEAVE, group, channel, owner)
        elif self.local.leave(group, channel):
            self.ignore(self.config.topics.group(group))
        if owner is None:
            self.named.left(channel)

    def close_channel(self, channel: str) -> None:
        mailbox = self.local.mailboxes.get(channel)
        for group in self.local.close(channel):
            self.ignore(self.config.topics.group(group))
        if owner_of(channel) is None:
            self.named.close(channel, mailbox)

    # Topics

    def commands_of(self, topic: str) -> Commands:
        return self.topology.commands(topic)

    async def listen(self, topic: str) -> None:
        """To a group's topic, or the own inbox."""
        hear = partial(self.strategy.hear, topic)
        await self.strategy.listen(topic, partial(self.subscribe, topic, hear))

    async def subscribe(self, topic: str, handler: Callable[[bytes], None]) -> None:
        """Have ``handler(data)`` called for what is published."""
        self._handlers[topic.encode()] = handler
        await self.topology.add(topic)

    def ignore(self, topic: str) -> None:
        self._handlers.pop(topic.encode(), None)
        self.topology.discard(topic)
        self.strategy.ignore(topic)

    def on_message(self, topic: bytes, data: bytes) -> None:
        handler = self._handlers.get(topic)
        if handler is None:
            return
        try:
            handler(data)
        except UndecodableMessage as error:
            self.undecodable.add(error)
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

    def deliver(
        self,
        topic: str,
        messages: Messages,
        deliver_event: Callable[[str, Message, int], None] | None = None,
    ) -> None:
        """``deliver_event(group, message, uid)`` is for a group that somebody has joined with positions."""
        if (group := self._group_of(topic)) is None:
            self._deliver_to_channels(messages)
            return
        for sealed in messages:
            if (message := self.open_or_count(topic, sealed)) is not None:
                if deliver_event is None:
                    self.local.deliver_group(group, message)
                else:
                    deliver_event(group, message, sealed[2])

    def _deliver_to_channels(self, messages: Messages) -> None:
        for sealed in messages:
            channel = sealed[0]
            if channel in self.local.mailboxes:
                if (message := self.open_or_count(self.inbox, sealed)) is not None:
                    self.local.deliver(channel, message)
            elif channel.startswith((JOIN, LEAVE, ANSWER)):
                self._foreign.receive(channel, sealed[1])

    def open(self, topic: str, sealed: Sealed, *, however_old: bool = False) -> Message:
        """``UndecodableMessage``, also for an encrypted message that has expired."""
        serializer = self.config.serializer
        if however_old:
            serializer = copy.copy(serializer)
            serializer.expiry = None
        if self.binds:
            return serializer.deserialize_at(sealed[1], place_of(topic, sealed))
        return serializer.deserialize(sealed[1])

    def open_or_count(self, topic: str, sealed: Sealed) -> Message | None:
        """None, and counted, if it cannot be decoded."""
        try:
            return self.open(topic, sealed)
        except UndecodableMessage as error:
            self.undecodable.add(error)
            return None

    def receivers(self, topic: str, messages: Messages) -> list[Mailbox]:
        """The mailboxes that the messages were for."""
        if self._group_of(topic) is not None:
            return self.members(topic)
        mailboxes = self.local.mailboxes
        return [mailboxes[channel] for channel, *_ in messages if channel in mailboxes]

    def members(self, topic: str) -> list[Mailbox]:
        group = self._group_of(topic)
        if group is None:
            return list(self.local.mailboxes.values())
        return list(self.local.members.get(group, {}).values())

    # The end

    async def flush(self) -> None:
        for server in await self.topology.primaries():
            cursor = b""
            while cursor != b"0":
                match = "MATCH", self.config.topics.pattern, "COUNT", 1000
                cursor, keys = await server.execute("SCAN", cursor or b"0", *match)
                for key in keys:
                    await server.execute("UNLINK", key)
        for group in list(self.local.members):
            self.ignore(self.config.topics.group(group))
        self.local.clear()
        self.named.restart()
        self.strategy.restart()

    async def aclose(self) -> None:
        self.closed = True
        await self.strategy.aclose()
        await self.named.aclose()
        await self._foreign.aclose()
        await self._batcher.aclose()
        await self.topology.aclose()


class ForeignMembership:
    """Requests of one loop layer, and its answers to the requests of others."""

    def __init__(self, owner: LoopLayer) -> None:
        self._owner = owner
        self._timeout = owner.config.timeout
        self._numbers = count(1)
        self._unanswered: dict[str, asyncio.Future[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def request(self, mark: str, group: str, channel: str, process_id: str) -> None:
        """Have the channel's owner change the membership."""
        await self._owner.listen(self._owner.inbox)  # for the answer
        number = str(next(self._numbers))
        answer = self._unanswered[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._timeout):
                text = f"{self._owner.names.process_id} {number} {group}"
                await self._post(process_id, mark + channel, text)
                failure = await answer
        except TimeoutError:
            raise ChannelLayerUnavailable(
                f"The process that owns channel {channel} did not confirm within {self._timeout} s "
                f"that its membership in group {group} has changed"
            ) from None
        finally:
            del self._unanswered[number]
        if failure:
            raise ChannelLayerUnavailable(
                f"The process that owns channel {channel} could not change its membership in group "
                f"{group}: {failure}"
            )

    def _post(self, process_id: str, channel: str, text: str) -> Awaitable[object]:
        inbox = self._owner.config.topics.inbox(process_id)
        return self._owner.post(inbox, channel, text.encode())

    def receive(self, channel: str, payload: bytes) -> None:
        """A message to one of the three names; ``UndecodableMessage`` for what none of us sends."""
        try:
            if channel == ANSWER:
                self._answered(payload.decode())
            else:
                self._requested(channel[:1], channel[1:], payload.decode("ascii"))
        except (ValueError, TypeError) as error:
            raise UndecodableMessage(f"No request or answer of a membership: {error}") from error

    def _answered(self, text: str) -> None:
        number, _, failure = text.partition(" ")
        answer = self._unanswered.get(number)
        if answer is not None and not answer.done():  # else the requester has given up
            answer.set_result(failure)

    def _requested(self, mark: str, channel: str, text: str) -> None:
        requester, number, group = text.split(" ")
        check_group_name(group)
        check_channel_name(channel)
        if not PROCESS_ID.match(requester):
            raise ValueError(f"{requester!r} is the id of no process")
        if len(self._tasks) < MOST_REQUESTS:  # else the requester gets no answer in time
            method = self._owner.group_add if mark == JOIN else self._owner.group_discard
            change = partial(method, group, channel)
            task = asyncio.create_task(self._answer(change, requester, number))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(
        self, change: Callable[[], Awaitable[None]], requester: str, number: str
    ) -> None:
        failure = ""
        try:
            await change()
        except FastChannelsError as error:
            failure = str(error)
        with contextlib.suppress(ChannelLayerUnavailable):  # the requester is told by its timeout
            await self._post(requester, ANSWER, f"{number} {failure}")

    async def aclose(self) -> None:
        await cancel_and_wait(self._tasks)
