"""The queue layer: nothing that was accepted is lost before it expires.

To consumers, each message once and in the order of its sender. A group's (or an inbox's) messages
are appended to a log, a Redis stream, and published, in one script. Listeners receive what is
published; after a broken connection they read from the log what they missed. A sender whose
connection breaks repeats the message under the same uid, and receivers hand out each uid once.
To receivers of a named channel, at least once; see ``job_streams``.

What is lost, and when
- a message that nobody read for ``expiry`` seconds, or that ``history`` younger ones followed while
  a listener was cut off;
- a message that finds a consumer's mailbox full: by the consumer's policy, counted and logged;
- with the server: what it had not written to disk (``appendfsync``) or, without
  ``durability="replicated"``, had not passed on to the replica that takes its place.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, cast, get_args

from ...exceptions import ChannelNotOwned
from ..history import Histories, History, Joined
from ..jobs import DeadLetter, Delivery, Depth
from .client.hosts import Hosts
from .group_history import GroupHistory
from .job_streams import JobStream, JobStreams
from .layer import RedisLayer
from .loop_layer import LoopLayer

Durability = Literal["memory", "replicated"]


class RedisChannelLayer(RedisLayer):
    """``history`` is how many messages of each group a listener that is cut off can catch up on, and
    ``group_history`` how much of some groups is kept for ``join()``: it maps a shell-style glob or a
    compiled pattern of group names to a ``History``, the first match counts. Of other groups it is
    ``history`` messages for ``expiry`` seconds after the last one.

    ``lease`` is how long a worker may hold a message without renewing it, in seconds, before
    another one gets it. ``durability="replicated"`` has a send return only when at least one
    replica has the message too; ``"memory"`` when the primary has it. ``group_expiry`` is accepted
    for compatibility: a member stays until it leaves, closes or its process ends. See
    ``RedisLayer`` for the rest, and ``InspectableWorkQueue`` for the methods of workers and operators.
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
        group_history: Mapping[str | re.Pattern[str], History] | None = None,
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
        self._histories = Histories(group_history, History(history, expiry))

    def _make_loop_layer(self) -> LoopLayer:
        return LoopLayer(
            self._config,
            partial(GroupHistory, kept=self._kept),
            partial(JobStreams, lease_seconds=self.lease_time),
        )

    def _kept(self, topic: str) -> History:
        return self._histories.of(self._config.topics.group_of(topic) or "")

    @property
    def _jobs(self) -> JobStreams:
        return cast(JobStreams, self.loop_layer.named)

    def _stream(self, channel: str) -> JobStream:
        self.require_valid_channel_name(channel)
        return self._jobs.stream(channel)

    async def join(
        self, group: str, channel: str, *, since: str | None = None, history: int = 0
    ) -> Joined:
        self.require_joinable(group, channel, since, history)
        here = self.loop_layer
        if not here.names.owns(channel) or channel not in here.local.mailboxes:
            raise ChannelNotOwned(channel)
        return await cast(GroupHistory, here.strategy).join_at(group, channel, since, history)

    async def lease(self, channel: str, count: int = 1) -> list[Delivery]:
        self.require_valid_channel_name(channel)
        return await self._jobs.lease(channel, count)

    async def renew(self, delivery: Delivery) -> bool:
        return await self._stream(delivery.channel).renew(delivery)

    async def acknowledge(self, *deliveries: Delivery) -> None:
        by_channel: dict[str, list[str]] = {}
        for delivery in deliveries:
            by_channel.setdefault(delivery.channel, []).append(delivery.receipt)
        for channel, receipts in by_channel.items():
            await self._stream(channel).acknowledge(receipts)

    async def release(self, delivery: Delivery) -> None:
        await self._stream(delivery.channel).give_back([delivery])

    async def reject(
        self, delivery: Delivery, *, delay: float = 0.0, final: bool = False, reason: str = ""
    ) -> None:
        stream = self._stream(delivery.channel)
        if final:
            await stream.bury(delivery, reason)
        else:
            await stream.give_back([delivery], delay, counts=True)

    async def depth(self, channel: str) -> Depth:
        stream = self._stream(channel)
        self._jobs.acknowledge_received(channel)
        return await stream.depth()

    async def dead_letters(
        self, channel: str, count: int = 100, after: str = ""
    ) -> list[DeadLetter]:
        return await self._stream(channel).dead_letters(count, after)

    async def replay(self, channel: str, letter: DeadLetter) -> bool:
        return await self._stream(channel).replay(letter)

    async def discard(self, channel: str, letter: DeadLetter) -> bool:
        return await self._stream(channel).discard(letter)
