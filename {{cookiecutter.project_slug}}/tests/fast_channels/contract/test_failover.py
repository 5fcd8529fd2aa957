"""A Sentinel failover under both Redis layers at once."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from expect import eventually, silence
from fast_channels.exceptions import ChannelLayerUnavailable
from fast_channels.layers import RedisChannelLayer, RedisPubSubChannelLayer
from redis_servers import SentinelGroup

RECOVERY = 40.0  # seconds; about 5 is usual, a starved machine takes longer


@pytest.fixture
def group() -> Iterator[SentinelGroup]:
    """A group of the test's own."""
    with SentinelGroup(password="data", sentinel_password="watch") as running:
        yield running


class Traffic:
    """A sender that numbers its messages, and a listener in another process of the app."""

    def __init__(self, sender: Any, listener: Any) -> None:
        self.sender = sender
        self.listener = listener
        self.accepted: list[int] = []
        self.received: list[int] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self.channel = await self.listener.new_channel()
        await self.listener.group_add("room", self.channel)
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]

    async def stop(self) -> None:
        sending, receiving = self._tasks
        sending.cancel()
        await asyncio.wait([sending])
        await eventually(lambda: self.received[-1:] == self.accepted[-1:], "the last message")
        receiving.cancel()
        await asyncio.wait([receiving])
        assert sending.cancelled(), "the sender met another error than the documented one"
        assert receiving.cancelled(), "receive() raised"

    async def goes_on(self) -> None:
        """Wait for 50 more messages that arrive."""
        expected = len(self.received) + 50
        await eventually(
            lambda: len(self.received) >= expected, "messages to arrive again", within=RECOVERY
        )

    async def _send(self) -> None:
        number = 0
        while True:
            number += 1
            try:
                await self.sender.group_send("room", {"number": number})
            except ChannelLayerUnavailable:
                continue
            self.accepted.append(number)
            await asyncio.sleep(0.005)

    async def _receive(self) -> None:
        while True:
            self.received.append((await self.listener.receive(self.channel))["number"])


async def test_both_layers_survive_a_failover(group: SentinelGroup, record_property: Any) -> None:
    """Senders get one error or wait, receivers wait, and both find the new primary by themselves.

    The queue layer repeats what was not confirmed and reads on from the log: nothing comes twice
    or out of order, and nothing that the new primary has is missing.
    """
    traffic = [
        Traffic(kind([group.url]), kind([group.url]))
        for kind in (RedisChannelLayer, RedisPubSubChannelLayer)
    ]
    try:
        for one in traffic:
            await one.start()
        for one in traffic:
            await one.goes_on()
        await asyncio.to_thread(group.failover)
        for one in traffic:
            await one.goes_on()
            await one.stop()
            lost = set(one.accepted) - set(one.received)
            record_property(f"{type(one.sender).__name__} lost", len(lost))
            assert one.received == sorted(set(one.received))
        queue = traffic[0]
        # Replication is asynchronous: what was accepted in the primary's last moment may be gone.
        assert len(set(queue.accepted) - set(queue.received)) <= 1
        await silence(queue.listener, queue.channel, 0.1)
    finally:
        for one in traffic:
            await one.sender.aclose()
            await one.listener.aclose()
