"""Recovery for what stands above a layer: consumers, and code without a socket.

A layer's ``join()`` says what a receiver missed; here are the two ways to use it. Of the package only
``sse`` imports this module.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from .exceptions import Overflowed
from .layers.base import BaseChannelLayer
from .layers.history import Joined
from .mailbox import Mailbox, Message


class RecoveryMixin:
    """A mixin for consumers, to stand before their base class."""

    channel_layer: BaseChannelLayer
    channel_name: str

    async def join(self, group: str, *, since: str | None = None, history: int = 0) -> Joined:
        """``BaseChannelLayer.join`` for the consumer's own channel."""
        return await self.channel_layer.join(group, self.channel_name, since=since, history=history)

    async def leave(self, group: str) -> None:
        await self.channel_layer.group_discard(group, self.channel_name)


@dataclass
class Following:
    """Iterates over a group's events, each with its position, from ``joined.position`` on.

    Where the layer was cut off, and events may be missing, it yields ``{"type": "layer.reconnected"}``.
    ``Overflowed`` if the events came faster than they were taken: what was taken has no hole, and the
    receiver may go on from its last position.
    """

    joined: Joined
    mailbox: Mailbox
    stopped: bool = False

    def stop(self, ended: object = None) -> None:
        """There are no more events, also for whoever waits for the next one; a future may call it."""
        self.stopped = True
        self.mailbox.poke()

    async def __aiter__(self) -> AsyncIterator[Message]:
        while not self.stopped:
            if (message := self.mailbox.take()) is None:
                await self.mailbox.wait()
                continue
            if self.mailbox.overflowed:
                raise Overflowed(
                    f"More than {self.mailbox.capacity} events came before they were taken"
                )
            yield message


@asynccontextmanager
async def follow(
    layer: BaseChannelLayer, group: str, *, since: str | None = None, history: int = 0
) -> AsyncIterator[Following]:
    """Join a group without a consumer, as ``BaseChannelLayer.join`` does, until the block ends."""
    channel = await layer.new_channel()
    try:
        mailbox = layer.mailbox(channel, "close")
        joined = await layer.join(group, channel, since=since, history=history)
        yield Following(joined, mailbox)
    finally:
        await layer.close_channel(channel)
