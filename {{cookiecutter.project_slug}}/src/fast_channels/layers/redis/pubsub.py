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
from ...names import owner_of
from .base import RedisLayer
from .envelope import encode
from .idle import IdleNames
from .outbox import Request
from .peer import Config, Peer
from .topology import PUBLISH
from .type_defs import Hosts

logger = logging.getLogger(__name__)

MOST_IDLE = 1000  # named channels

Hook = Callable[[], Awaitable[None] | None]


class RedisPubSubChannelLayer(RedisLayer):
    """``on_disconnect()`` and ``on_reconnect()``, plain or async, are called when the connection
    that receives is lost and when it is back and listens again. See ``RedisLayer`` for the rest.

    A named channel reaches every process that has received on it before and none that comes later. A
    process that has not received on it for ``expiry`` seconds is not reached any more, nor one that has
    called ``close_channel()``, or left a thousand other named channels since. For jobs use
    ``RedisChannelLayer``.
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
        self._idle = IdleNames(self._forget, after=config.expiry, most=MOST_IDLE)
        self._hooks: set[asyncio.Task[None]] = set()

    def publication(self, topic: str, uid: bytes, messages: list[bytes]) -> Request:
        return self.shard_of(topic).commands, (PUBLISH, topic, encode(uid, messages))

    def send_named(self, channel: str, payload: bytes) -> Awaitable[object]:
        return self.post(self.config.topics.channel(channel), "", payload)

    async def receive_named(self, channel: str) -> Message:
        mailbox = self.local.mailbox_of(channel)
        self._idle.use(channel)
        try:
            topic = self.config.topics.channel(channel)
            await self.listen(topic, partial(self._receive_named, channel))
            return await mailbox.get()
        finally:
            if not mailbox.waiting:
                self._idle.leave(channel)

    def _forget(self, channel: str) -> bool:
        """End the subscription to a named channel; False if somebody waits for its messages."""
        mailbox = self.local.mailboxes.get(channel)
        if mailbox is not None and mailbox.waiting:
            return False
        self._idle.use(channel)
        self.ignore(self.config.topics.channel(channel))
        if not self.local.is_member(channel):
            self.local.close(channel)
        return True

    def close_channel(self, channel: str) -> None:
        mailbox = self.local.mailboxes.get(channel)
        super().close_channel(channel)
        if owner_of(channel) is None:
            if mailbox is not None and mailbox.waiting:
                self.local.mailboxes[channel] = mailbox  # somebody goes on receiving
            self._forget(channel)

    def _receive_named(self, channel: str, data: bytes) -> None:
        topic = self.config.topics.channel(channel)
        for sealed in self.open_envelope(topic, data):
            if (message := self.deserialize(topic, *sealed)) is not None:
                self.local.deliver(channel, message)

    async def aclose(self) -> None:
        self._idle.close()
        await super().aclose()

    def on_lost(self) -> None:
        self._gap = True
        self._call(self._on_disconnect)

    def on_open(self) -> None:
        if not self._gap:
            return
        self._gap = False
        self.local.notify_consumers({"type": "layer.reconnected"})
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
