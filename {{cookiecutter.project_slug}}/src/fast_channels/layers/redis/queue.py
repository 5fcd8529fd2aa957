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
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, cast, get_args

from ...exceptions import FastChannelsError
from ...mailbox import Mailbox, Message
from ...tasks import cancel_and_wait
from ...names import owner_of
from ..throttled import ThrottledWarning
from . import scripts
from .envelope import Messages
from .group_log import GroupLog, Outage
from .named import NamedChannels
from .outbox import Request
from .peer import Config, Peer
from .topology import Commands
from .type_defs import Hosts
from .work_queue import RedisWorkQueue

logger = logging.getLogger(__name__)

Durability = Literal["memory", "replicated"]


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
        self._log = GroupLog(self, expiry=config.expiry, history=history, poison=self.poison)
        # The inbox is as new as the process id in its name: all that its log holds is for us.
        self._log.follow(self.inbox)
        self._expiry_ms = int(config.expiry * 1000)
        self._forwarders: dict[str, asyncio.Task[None]] = {}
        self.unforwarded = ThrottledWarning(
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
        mailbox = self.local.mailbox_of(channel)
        while True:
            message = await mailbox.get()
            try:
                await self.send_named(channel, self.serialize(message))
            except FastChannelsError as error:
                self.unforwarded.add(channel, error)

    # Listening

    async def listen(self, topic: str, handler: Callable[[bytes], None]) -> None:
        await self._log.join(topic, partial(super().listen, topic, handler))

    def ignore(self, topic: str) -> None:
        super().ignore(topic)
        self._log.leave(topic)

    def open_envelope(self, topic: str, data: bytes) -> Messages:
        return self._log.hear(topic, data)

    def on_subscribing(self, topics: list[str], since: float) -> Outage:
        return self._log.on_subscribing(topics, since)

    def on_subscribed(self, topics: list[str], mark: Any) -> None:
        self._log.on_subscribed(topics, mark)

    def on_lost(self) -> None:
        self._log.on_lost()

    def on_open(self) -> None:
        self.named.wake_all()

    # For the log

    def commands_of(self, topic: str) -> Commands:
        return self.shard_of(topic).commands

    def hand_out(self, topic: str, messages: Messages) -> None:
        group = self.config.topics.group_of(topic)
        if group is None:
            self.deliver_to_channels(messages)
        else:
            self.deliver_to_group(group, topic, messages)

    def receivers(self, topic: str, messages: Messages) -> list[Mailbox]:
        if self.config.topics.group_of(topic) is not None:
            return self.members(topic)
        mailboxes = self.local.mailboxes
        return [mailboxes[channel] for channel, *_ in messages if channel in mailboxes]

    def members(self, topic: str) -> list[Mailbox]:
        group = self.config.topics.group_of(topic)
        if group is None:
            return list(self.local.mailboxes.values())
        return list(self.local.members.get(group, {}).values())

    async def flush(self) -> None:
        await super().flush()
        self.named.drop_leased()
        self._log.restart()

    async def aclose(self) -> None:
        await cancel_and_wait(self._forwarders.values())
        await self._log.aclose()
        await self.named.aclose()
        await super().aclose()
