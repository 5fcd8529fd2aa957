"""The publish/subscribe layer: events for whoever listens at this moment, at the lowest latency.

At most once, in order per sender. Redis stores nothing, so what is published while a listener's
connection is broken does not reach it. Its sockets stay open; when the connection is back, each
consumer is told of the gap by ``{"type": "layer.reconnected"}``, and ``on_reconnect`` is called.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from ...mailbox import Message
from .base import RedisLayer
from .envelope import encode
from .outbox import Request
from .peer import Config, Peer
from .topology import PUBLISH
from .type_defs import Hosts

logger = logging.getLogger(__name__)

Hook = Callable[[], Awaitable[None] | None]


class RedisPubSubChannelLayer(RedisLayer):
    """``on_disconnect()`` and ``on_reconnect()``, plain or async, are called when the connection
    that receives is lost and when it is back and listens again. See ``RedisLayer`` for the rest.

    A named channel reaches every process that has received on it before and none that comes later;
    for jobs use ``RedisChannelLayer``.
    """

    def __init__(
        self,
        hosts: Hosts | None = None,
        prefix: str = "asgi",
        on_disconnect: Hook | None = None,
        on_reconnect: Hook | None = None,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        serializer_format: str = "msgpack",
        **options: Any,
    ) -> None:
        super().__init__(
            hosts,
            prefix,
            symmetric_encryption_keys=symmetric_encryption_keys,
            serializer_format=serializer_format,
            **options,
        )
        self._on_disconnect = on_disconnect
        self._on_reconnect = on_reconnect

    def _make_peer(self, config: Config) -> Peer:
        return PubSubPeer(config, self._on_disconnect, self._on_reconnect)


class PubSubPeer(Peer):
    keyed = False
    repeatable = False

    def __init__(
        self, config: Config, on_disconnect: Hook | None, on_reconnect: Hook | None
    ) -> None:
        super().__init__(config)
        self._on_disconnect = on_disconnect
        self._on_reconnect = on_reconnect
        self._gap = False
        self._hooks: set[asyncio.Task[None]] = set()

    def publication(self, topic: str, uid: bytes, messages: list[bytes]) -> Request:
        return self.shard_of(topic).commands, (PUBLISH, topic, encode(uid, messages))

    def send_named(self, channel: str, payload: bytes) -> Awaitable[object]:
        return self.post(self.config.topics.channel(channel), "", payload)

    async def receive_named(self, channel: str) -> Message:
        mailbox = self.local.open(channel)
        topic = self.config.topics.channel(channel)
        await self.listen(topic, partial(self._receive_named, channel))
        return await mailbox.get()

    def _receive_named(self, channel: str, data: bytes) -> None:
        for _, payload in self.open_envelope(self.config.topics.channel(channel), data):
            if (message := self.deserialize(payload)) is not None:
                self.local.deliver(channel, message)

    def on_lost(self) -> None:
        self._gap = True
        self._call(self._on_disconnect)

    def on_open(self) -> None:
        if not self._gap:
            return
        self._gap = False
        self.local.tell({"type": "layer.reconnected"})
        self._call(self._on_reconnect)

    def _call(self, hook: Hook | None) -> None:
        if hook is not None:
            task = asyncio.create_task(_run(hook))
            self._hooks.add(task)
            task.add_done_callback(self._hooks.discard)


async def _run(hook: Hook) -> None:
    try:
        result = hook()
        if inspect.isawaitable(result):
            await result
    except Exception:
        logger.exception("A connection hook failed")
