"""A Cluster that changes under both Redis layers: a primary is lost, a slot moves."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from fast_channels.layers import RedisChannelLayer, RedisPubSubChannelLayer

from ..support.redis_servers import ClusterGroup, RedisServer
from ..support.traffic import Traffic

PASSWORD = "data"


@pytest.fixture
def group() -> Iterator[ClusterGroup]:
    """Three primaries, each with a replica, for this test alone."""
    with ClusterGroup(replicas=1, password=PASSWORD) as running:
        yield running


@pytest.fixture
def topic() -> str:
    """Where the group of the traffic lives, in either layer."""
    return "traffic:g:{room}"


def both_layers(group: ClusterGroup, **options: Any) -> list[Traffic]:
    return [
        Traffic(*(RedisChannelLayer([group.url], "traffic", **options) for _ in range(2))),
        Traffic(*(RedisPubSubChannelLayer([group.url], "traffic.events") for _ in range(2))),
    ]


async def close(traffic: list[Traffic]) -> None:
    for one in traffic:
        await one.sender.aclose()
        await one.listener.aclose()


async def test_a_lost_primary_is_replaced(group: ClusterGroup, topic: str) -> None:
    """Its replica takes over; what the queue accepted as replicated arrives once and in order."""
    traffic = both_layers(group, durability="replicated")
    try:
        for one in traffic:
            await one.start()
        for one in traffic:
            await one.goes_on()
        await asyncio.to_thread(lose_primary, group, topic)
        for one in traffic:
            await one.goes_on()
            await one.stop()
            assert one.received == sorted(set(one.received))
        queue = traffic[0]
        assert set(queue.accepted) - set(queue.received) == set()
    finally:
        await close(traffic)


async def test_a_slot_moves(group: ClusterGroup, topic: str) -> None:
    """Both layers follow it; the queue loses, doubles and reorders nothing."""
    traffic = both_layers(group)
    try:
        for one in traffic:
            await one.start()
        for one in traffic:
            await one.goes_on()
        for _ in range(3):
            await asyncio.to_thread(move_slot, group, topic)
            for one in traffic:
                await one.goes_on()
        for one in traffic:
            await one.stop()
            assert one.received == sorted(set(one.received))
        queue = traffic[0]
        assert queue.accepted == queue.received
    finally:
        await close(traffic)


def lose_primary(group: ClusterGroup, key: str) -> None:
    """Kill it; once another one has taken over it comes back as that one's replica."""
    old = group.primary_of(key)
    group.failover(key)
    old.start()


def move_slot(group: ClusterGroup, key: str) -> None:
    """Migrate the slot of a key to another primary, as `redis-cli --cluster reshard` does."""
    source = group.primary_of(key)
    primaries = [node for node in group.nodes if node.alive and node.is_primary()]
    target = next(node for node in primaries if node is not source)
    slot = int(source.execute("CLUSTER", "KEYSLOT", key))
    source_id, target_id = (node.execute("CLUSTER", "MYID") for node in (source, target))
    target.execute("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
    source.execute("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
    while keys := source.execute("CLUSTER GETKEYSINSLOT", slot, 100):
        migrate(source, target, keys)
    for node in (target, source, *(n for n in primaries if n not in (source, target))):
        node.execute("CLUSTER", "SETSLOT", slot, "NODE", target_id)
    group.wait_ready()


def migrate(source: RedisServer, target: RedisServer, keys: list[Any]) -> None:
    source.execute(
        "MIGRATE", target.host, target.port, "", 0, 5000, "AUTH", PASSWORD, "KEYS", *keys
    )
