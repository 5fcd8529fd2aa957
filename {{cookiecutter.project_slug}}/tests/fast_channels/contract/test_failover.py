"""A Sentinel failover under both Redis layers at once."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from fast_channels.layers import RedisChannelLayer, RedisPubSubChannelLayer

from ..support.expect import silence
from ..support.redis_servers import SentinelGroup
from ..support.traffic import Traffic


@pytest.fixture
def group() -> Iterator[SentinelGroup]:
    """A group of the test's own."""
    with SentinelGroup(password="data", sentinel_password="watch") as running:
        yield running


async def test_both_layers_survive_a_failover(group: SentinelGroup, record_property: Any) -> None:
    """Senders get one error or wait, receivers wait, and both find the new primary by themselves.

    The queue layer repeats what was not confirmed and reads on from the log: nothing comes twice
    or out of order, and nothing that the new primary has is missing.
    """
    traffic = [
        Traffic(kind([group.url], kind.__name__), kind([group.url], kind.__name__))
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
        await silence(queue.listener, queue.channel)
    finally:
        for one in traffic:
            await one.sender.aclose()
            await one.listener.aclose()
