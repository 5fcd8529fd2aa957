"""What both Redis layers share towards their users: arguments, checks, one ``LoopLayer`` for each loop."""

import abc
import asyncio
import re
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from ...mailbox import Mailbox, Message, Overflow
from ...tasks import at_loop_end
from ..base import BaseChannelLayer
from .client.cluster import make_topology
from .client.hosts import Hosts, Sentinels, parse_hosts
from .format import Topics
from .loop_layer import Config, LoopLayer
from .serializers import registry


class RedisLayer(BaseChannelLayer):
    """Arguments that both layers take beyond those of ``BaseChannelLayer``

    ``hosts``: servers to shard over, each a URL (``redis://``, ``rediss://``, ``unix://``,
    ``redis+sentinel://host:port,host:port/service/db``, ``redis+cluster://host:port,host:port``),
    ``(host, port)``, ``{"address": …}``, ``{"host": …, "port": …}``, ``{"cluster": [(host, port)]}``
    or ``{"sentinels": [(host, port)], "master_name": …, "sentinel_kwargs": {…}}``; or instead
    ``sentinels``, ``service_name`` and ``sentinel_kwargs``. ``connection_kwargs`` go to redis-py's
    connections. Default: ``redis://localhost:6379``.

    ``prefix`` keeps apps apart that share a server, and so does a database number other than 0, which
    becomes a part of the names. ``timeout`` is how long an operation waits for a connection, and then
    for a reply, before it raises ``ChannelLayerUnavailable``, in seconds. ``max_message_size`` is in bytes
    after serialization.
    """

    extensions: ClassVar[list[str]] = ["groups", "flush"]

    def __init__(
        self,
        hosts: Hosts | None = None,
        prefix: str = "asgi",
        *,
        expiry: float = 60,
        capacity: int = 100,
        channel_capacity: Mapping[str | re.Pattern[str], int] | None = None,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        random_prefix_length: int = 0,
        serializer_format: str = "msgpack",
        sentinels: Sentinels | None = None,
        service_name: str | None = None,
        sentinel_kwargs: Mapping[str, Any] | None = None,
        connection_kwargs: Mapping[str, Any] | None = None,
        timeout: float = 5.0,
        max_message_size: int = 1024 * 1024,
    ) -> None:
        super().__init__(expiry, capacity, channel_capacity)
        if "{" in prefix or "}" in prefix:
            raise ValueError(f"prefix must hold no braces, which mark hash tags, not {prefix!r}")
        self.prefix = prefix
        self._serializer = registry.get_serializer(
            serializer_format,
            symmetric_encryption_keys=symmetric_encryption_keys,
            random_prefix_length=random_prefix_length,
            expiry=expiry,
        )
        endpoints = parse_hosts(
            hosts,
            sentinels=sentinels,
            service_name=service_name,
            sentinel_kwargs=sentinel_kwargs,
            connection_kwargs=connection_kwargs,
        )
        self._config = Config(
            connect=partial(make_topology, endpoints, timeout),
            topics=Topics.on(prefix, [endpoint.database for endpoint in endpoints]),
            serializer=self._serializer,
            capacity_of=self.get_capacity,
            expiry=expiry,
            timeout=timeout,
            max_message_size=max_message_size,
        )
        # Of all loops, by channel: to find one here needs no look for the running loop, which costs
        # CPython 3.11 a system call.
        self._own_mailboxes: dict[str, Mailbox] = {}
        self._loop_layers: dict[asyncio.AbstractEventLoop, LoopLayer] = {}
        self._lock = threading.Lock()

    @abc.abstractmethod
    def _make_loop_layer(self) -> LoopLayer:
        """For the running loop."""

    @property
    def loop_layer(self) -> LoopLayer:
        """The running loop's part, also for what keeps something of its own in Redis."""
        loop = asyncio.get_running_loop()
        loop_layer = self._loop_layers.get(loop)
        if loop_layer is None:
            with self._lock:
                # A loop that ended has ended its tasks, and with them its connections.
                # Other threads' layers may end meanwhile.
                for ended in [loop for loop in list(self._loop_layers) if loop.is_closed()]:
                    self._forget(ended)
                loop_layer = self._loop_layers[loop] = self._make_loop_layer()
                loop_layer.end = at_loop_end(partial(self._close_loop_layer, loop))
        return loop_layer

    @property
    def client_prefix(self) -> str:
        """The process id in the names of this loop's own channels."""
        return self.loop_layer.names.process_id

    @property
    def dropped(self) -> int:
        """Messages dropped by this loop because a receiver's mailbox was full."""
        return self.loop_layer.local.drops.total

    @property
    def expired(self) -> int:
        """Messages that this loop dropped because nobody had read them for ``expiry`` seconds."""
        return self.loop_layer.local.expirations.total

    @property
    def undecodable(self) -> int:
        """Messages skipped by this loop because they could not be decoded."""
        return self.loop_layer.undecodable.total

    def serialize(self, message: Message) -> bytes:
        return self._serializer.serialize(message)

    def deserialize(self, message: bytes) -> Message:
        return self._serializer.deserialize(message)

    async def send(self, channel: str, message: Message) -> None:
        loop_layer = self.loop_layer
        self.require_valid_channel_name(channel)
        self.require_valid_message(message)
        await loop_layer.send(channel, message)

    async def receive(self, channel: str) -> Message:
        mailbox = self._own_mailboxes.get(channel)
        if mailbox is None:
            self.require_valid_channel_name(channel)
            return await self.loop_layer.receive(channel)
        message = mailbox.take()
        return await mailbox.get() if message is None else message

    async def new_channel(self, prefix: str = "specific.") -> str:
        loop_layer = self.loop_layer
        channel = await loop_layer.new_channel(prefix)
        if not loop_layer.closed:
            self._own_mailboxes[channel] = loop_layer.local.mailboxes[channel]
        return channel

    async def group_add(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        await self.loop_layer.group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        await self.loop_layer.group_discard(group, channel)

    async def group_send(self, group: str, message: Message) -> None:
        loop_layer = self.loop_layer
        self.require_valid_group_name(group)
        self.require_valid_message(message)
        await loop_layer.group_send(group, message)

    async def flush(self) -> None:
        """Delete every key of the layer, and forget this loop's messages and memberships."""
        await self.loop_layer.flush()

    def mailbox(self, channel: str, overflow: Overflow | None = None) -> Mailbox:
        return self.loop_layer.mailbox(channel, overflow)

    async def close_channel(self, channel: str) -> None:
        self._own_mailboxes.pop(channel, None)
        self.loop_layer.close_channel(channel)

    async def open(self) -> None:
        self.loop_layer.start()

    async def aclose(self) -> None:
        if (loop_layer := self._loop_layers.get(asyncio.get_running_loop())) is not None:
            await loop_layer.end.aclose()

    async def _close_loop_layer(self, loop: asyncio.AbstractEventLoop) -> None:
        await self._forget(loop).aclose()

    def _forget(self, loop: asyncio.AbstractEventLoop) -> LoopLayer:
        loop_layer = self._loop_layers.pop(loop)
        for channel in loop_layer.local.mailboxes:
            self._own_mailboxes.pop(channel, None)
        return loop_layer

    async def close_pools(self) -> None:
        """The name of ``aclose()`` in fast-channels and channels_redis."""
        await self.aclose()

    async def wait_received(self) -> None:
        """Nothing to wait for: no message is under way outside a mailbox."""
