"""Testing a layer on Redis processes of one's own."""

import asyncio
from collections.abc import Iterator

import pytest

from fast_channels.layers import RedisChannelLayer

from ..fast_channels.support.redis_servers import RedisServer, SentinelGroup


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer(appendonly=True) as server:
        yield server


async def test_two_processes_share_a_group(redis_server: RedisServer) -> None:
    """Two layer objects on one server stand for two processes."""
    here = RedisChannelLayer([redis_server.url], prefix="share")
    there = RedisChannelLayer([redis_server.url], prefix="share")
    async with here, there:
        channel = await there.new_channel()
        await there.group_add("room", channel)
        await here.group_send("room", {"type": "chat.message", "text": "hello"})
        async with asyncio.timeout(5):
            message = await there.receive(channel)
        assert message["text"] == "hello"


# restart
async def test_a_restart_loses_nothing(redis_server: RedisServer) -> None:
    """The server is killed and started again; the listener receives what was sent before and after."""
    layer = RedisChannelLayer([redis_server.url], prefix="restart")
    async with layer:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_send("room", {"type": "count", "number": 1})
        await asyncio.to_thread(redis_server.kill)
        await asyncio.to_thread(redis_server.restart)
        await layer.group_send("room", {"type": "count", "number": 2})
        async with asyncio.timeout(10):
            received = [await layer.receive(channel) for _ in range(2)]
        assert [message["number"] for message in received] == [1, 2]


# failover
@pytest.fixture(scope="module")
def sentinel_group() -> Iterator[SentinelGroup]:
    with SentinelGroup() as group:
        yield group


async def test_a_failover_keeps_the_listener(sentinel_group: SentinelGroup) -> None:
    """The primary is killed; the layer finds the new one, and the membership is still there."""
    layer = RedisChannelLayer(
        sentinels=sentinel_group.addresses, service_name=sentinel_group.service_name
    )
    async with layer:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await asyncio.to_thread(sentinel_group.failover)
        await layer.group_send("room", {"type": "chat.message", "text": "still here"})
        async with asyncio.timeout(10):
            message = await layer.receive(channel)
        assert message["text"] == "still here"
