"""The publish/subscribe layer: events for whatever listens at this moment, at the lowest latency.

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

from ...mailbox import Mailbox, Message
from ..idle import IdleNames
from .client.commands import PUBLISH, Command
from .client.hosts import Hosts
from .format import decode, encode
from .layer import RedisLayer
from .loop_layer import LoopLayer, NamedChannels, Strategy

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
        self._make_strategy = partial(
            Ephemeral, on_disconnect=on_disconnect, on_reconnect=on_reconnect
        )

    def _make_loop_layer(self) -> LoopLayer:
        return LoopLayer(self._config, self._make_strategy, NamedTopics)


class Ephemeral(Strategy):
    """Nothing is kept; a gap is told."""

    keeps = False

    def __init__(
        self, owner: LoopLayer, on_disconnect: Hook | None, on_reconnect: Hook | None
    ) -> None:
        self._owner = owner
        self._on_disconnect = on_disconnect
        self._on_reconnect = on_reconnect
        self._gap = False
        self._hooks: set[asyncio.Task[None]] = set()
        owner.openings.append(self._on_open)

    def publish(self, topic: str, uid: bytes, messages: list[bytes]) -> Command:
        return PUBLISH, topic, encode(uid, messages)

    def hear(self, topic: str, data: bytes) -> None:
        self._owner.deliver(topic, decode(data))

    def on_lost(self) -> None:
        self._gap = True
        self._call(self._on_disconnect)

    def _on_open(self) -> None:
        if self._gap:
            self._gap = False
            self._owner.local.notify_consumers({"type": "layer.reconnected"})
            self._call(self._on_reconnect)

    def _call(self, hook: Hook | None) -> None:
        if hook is not None:
            task = asyncio.create_task(_run(hook))
            self._hooks.add(task)
            task.add_done_callback(self._hooks.discard)


class NamedTopics(NamedChannels):
    """Named channels as topics, which every loop listens to that has received on them."""

    def __init__(self, owner: LoopLayer) -> None:
        self._owner = owner
        self._local = owner.local
        self._topic_of = owner.config.topics.channel
        self._idle = IdleNames(self._forget, after=owner.config.expiry, most=MOST_IDLE)

    def send(self, channel: str, payload: bytes) -> Awaitable[object]:
        return self._owner.post(self._topic_of(channel), "", payload)

    async def receive(self, channel: str) -> Message:
        mailbox = self._local.mailbox_of(channel)
        self._idle.use(channel)
        try:
            await self._owner.subscribe(self._topic_of(channel), partial(self._deliver, channel))
            return await mailbox.get()
        finally:
            if not mailbox.waiting:
                self._idle.leave(channel)

    def _deliver(self, channel: str, data: bytes) -> None:
        topic = self._topic_of(channel)
        for sealed in decode(data):
            if (message := self._owner.open_or_count(topic, sealed)) is not None:
                self._local.deliver(channel, message)

    def close(self, channel: str, mailbox: Mailbox | None) -> None:
        if mailbox is not None and mailbox.waiting:
            self._local.mailboxes[channel] = mailbox  # a receiver goes on
        self._forget(channel)

    def _forget(self, channel: str) -> bool:
        """End the subscription to a channel; False if a receiver waits for its messages."""
        mailbox = self._local.mailboxes.get(channel)
        if mailbox is not None and mailbox.waiting:
            return False
        self._idle.use(channel)
        self._owner.ignore(self._topic_of(channel))
        if not self._local.is_member(channel):
            self._local.close(channel)
        return True

    async def aclose(self) -> None:
        self._idle.close()


async def _run(hook: Hook) -> None:
    try:
        result = hook()
        if inspect.isawaitable(result):
            await result
    except Exception:
        logger.exception("A connection hook failed")
