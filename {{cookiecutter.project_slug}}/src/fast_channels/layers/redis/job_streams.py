"""Jobs: the named channels of the queue layer, as one event loop uses them.

Invariants
- What a plain receiver has got takes no room any more when the next command of this process comes.
- A channel on which nobody has received for ``IDLE_TIME`` seconds is forgotten, or earlier when there
  are ``MOST_IDLE`` others.
- A named channel that is a member of a group gets the group's messages from the loop that added it.
"""

import asyncio
import logging
from collections.abc import Awaitable
from functools import lru_cache, partial

from ...exceptions import FastChannelsError
from ...mailbox import Mailbox, Message
from ...tasks import cancel_and_wait
from ..idle import IdleNames
from ..jobs import Delivery
from ..throttled import ThrottledWarning
from .batches import Batcher, Outcome, Request
from .client.connection import Reply
from .loop_layer import CACHED_NAMES, LoopLayer, NamedChannels
from .receivers import LEASE_ENDED, Receivers
from .stream import JobStream

logger = logging.getLogger(__name__)

IDLE_TIME = 10.0  # seconds
MOST_IDLE = 100  # channels


class JobStreams(NamedChannels):
    """``lease_time`` is in seconds."""

    def __init__(self, owner: "LoopLayer[JobStreams]", lease_time: float) -> None:
        self._owner = owner
        self.stream = lru_cache(CACHED_NAMES)(partial(JobStream, owner, lease_time))
        self._batcher = Batcher(self._enqueue, self._outcomes, replicated=owner.config.replicated)
        self._receivers: dict[str, Receivers] = {}
        self._idle = IdleNames(self._forget, after=IDLE_TIME, most=MOST_IDLE)
        self._forwarders: dict[str, asyncio.Task[None]] = {}
        self.unforwarded = ThrottledWarning(
            logger, "%d group message(s) not forwarded, the last to channel %s: %s"
        )

    def send(self, channel: str, payload: bytes) -> Awaitable[object]:
        envelope = self.stream(channel).envelope(self._owner.uids.make(), payload)
        return self._batcher.send(channel, envelope)

    def _enqueue(self, channel: str, envelopes: list[bytes]) -> Request:
        self.acknowledge_received(channel)
        return self.stream(channel).enqueue(envelopes)

    def _outcomes(self, channel: str, number: int, reply: Reply) -> list[Outcome]:
        return self.stream(channel).outcomes(number, reply)

    def acknowledge_received(self, channel: str) -> None:
        if (receivers := self._receivers.get(channel)) is not None:
            receivers.acknowledge()

    async def receive(self, channel: str) -> Message:
        """A message, removed from Redis as soon as it is handed over."""
        return await self._receivers_of(channel).receive()

    async def lease(self, channel: str, count: int) -> list[Delivery]:
        return await self._receivers_of(channel).lease(count)

    def _receivers_of(self, channel: str) -> Receivers:
        receivers = self._receivers.get(channel)
        if receivers is None:
            stream = self.stream(channel)
            listen = partial(self._owner.subscribe, stream.topic)
            receivers = self._receivers[channel] = Receivers(stream, listen, self._idle)
        return receivers

    # Members of groups

    def joined(self, channel: str) -> None:
        if channel not in self._forwarders:
            self._forwarders[channel] = asyncio.create_task(self._forward(channel))

    def left(self, channel: str) -> None:
        if channel in self._forwarders and not self._owner.local.is_member(channel):
            self._forwarders.pop(channel).cancel()
            self._owner.local.close(channel)

    async def _forward(self, channel: str) -> None:
        mailbox = self._owner.local.mailbox_of(channel)
        while True:
            message = await mailbox.get()
            try:
                await self.send(channel, self._owner.serialize(message))
            except FastChannelsError as error:
                self.unforwarded.add(channel, error)

    # The end

    def close(self, channel: str, mailbox: Mailbox | None) -> None:
        self._forget(channel)
        if (forwarder := self._forwarders.pop(channel, None)) is not None:
            forwarder.cancel()

    def _forget(self, channel: str) -> bool:
        """End the subscription to a channel; False if there are receivers or messages for them."""
        receivers = self._receivers.get(channel)
        if receivers is None:
            return True
        if not receivers.idle:
            return False
        self._idle.use(channel)
        del self._receivers[channel]
        self._owner.ignore(self.stream(channel).topic)
        return True

    def on_open(self) -> None:
        for receivers in self._receivers.values():
            receivers.on_notification(LEASE_ENDED)

    def restart(self) -> None:
        for receivers in self._receivers.values():
            receivers.drop_leased()

    async def aclose(self) -> None:
        await cancel_and_wait(self._forwarders.values())
        self._idle.close()
        await self._batcher.aclose()
        await asyncio.gather(*(receivers.aclose() for receivers in self._receivers.values()))
