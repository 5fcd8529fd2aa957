"""A process that is killed: its membership ends with its connection, its inbox by its lease."""

import asyncio
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import redis.asyncio

from fast_channels.layers import RedisChannelLayer

from ..support.children import SOURCES
from ..support.expect import eventually
from ..support.redis_servers import RedisServer

LEASE = 90.0  # seconds; the documented bound with the default expiry

PROGRAM = """
import asyncio, sys
from fast_channels.layers import redis

async def main(kind, url, prefix, expiry):
    layer = getattr(redis, kind)([url], prefix, expiry=float(expiry))
    for number in range(5):
        channel = await layer.new_channel()
        await layer.group_add(f"group-{number}", channel)
        await layer.group_send(f"group-{number}", {})
        await layer.send(channel, {})
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def client(redis_server: RedisServer) -> AsyncIterator[redis.asyncio.Redis]:
    options = {"protocol": 2, "decode_responses": True}
    async with redis.asyncio.Redis.from_url(redis_server.url, **options) as client:
        yield client


@contextmanager
def member(kind: str, url: str, prefix: str, expiry: float) -> Iterator["subprocess.Popen[str]"]:
    """A process with a channel in each of five groups, and messages in its inbox."""
    arguments = [kind, url, prefix, str(expiry)]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=SOURCES, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def is_ready(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"


@pytest.mark.parametrize("kind", ["RedisChannelLayer", "RedisPubSubChannelLayer"])
async def test_a_killed_process_is_forgotten(
    kind: str, redis_server: RedisServer, client: redis.asyncio.Redis
) -> None:
    """After SIGKILL Redis has no listener of its groups and its inbox at once, and no key of it
    when their time to live has passed.
    """
    prefix = f"test-{uuid.uuid4().hex[:8]}"
    expiry = 1.0
    with member(kind, redis_server.url, prefix, expiry) as process:
        await is_ready(process)
        topics = await client.pubsub_channels(f"{prefix}:*")
        listeners = dict(await client.pubsub_numsub(*topics))
        assert len([topic for topic in topics if topic.startswith(f"{prefix}:g:")]) == 5
        assert len([topic for topic in topics if topic.startswith(f"{prefix}:i:")]) == 1
        assert set(listeners.values()) == {1}
        process.kill()

        async def nobody_listens() -> bool:
            return not any(dict(await client.pubsub_numsub(*topics)).values())

        async def nothing_left() -> bool:
            return await client.keys(f"{prefix}:*") == []

        await eventually(nobody_listens, "the subscriptions to end")
        await eventually(nothing_left, "the keys to expire", within=expiry * 1.5 + 10)


async def test_the_default_lease(redis_server: RedisServer, client: redis.asyncio.Redis) -> None:
    """With the default expiry of 60 s, inbox and log outlive each message, by less than 90 s."""
    prefix = f"test-{uuid.uuid4().hex[:8]}"
    async with RedisChannelLayer([redis_server.url], prefix) as layer:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_send("room", {})
        await layer.send(channel, {})
        keys = await client.keys(f"{prefix}:*")
        lives = [await client.pttl(key) / 1000 for key in keys]
    assert len(keys) == 2
    assert all(layer.expiry < life <= LEASE for life in lives), lives
