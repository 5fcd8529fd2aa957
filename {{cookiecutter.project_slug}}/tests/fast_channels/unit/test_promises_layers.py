"""Promises of the README of fast-channels that version 1.1.0 broke, kept here: those of layers.

The numbers are of the project's list of twenty. 4 (a Sentinel failover ends no receiver) is
`contract/test_failover.py`; 6, 7, 8, 9 and 18 are in the contract (cancellation, capacity, groups,
lifetime); 19 is `test_promises_loops.py`; the others are the consumers' and the worker's.
"""

import asyncio
import importlib
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis.asyncio

from fast_channels.layers import (
    RedisChannelLayer,
    RedisPubSubChannelLayer,
)
from fast_channels.layers.redis.format import UID_LENGTH, encode, encode_message

from ..support.expect import eventually, messages
from ..support.redis_servers import RedisServer, SentinelGroup

REDIS_LAYERS = [RedisChannelLayer, RedisPubSubChannelLayer]


@pytest.fixture(params=REDIS_LAYERS)
def kind(request: pytest.FixtureRequest) -> Any:
    """The class of a Redis layer."""
    return request.param


@pytest.fixture
def prefix() -> str:
    return f"promise-{uuid.uuid4().hex[:8]}"


@pytest.fixture
async def make(redis_server: RedisServer, prefix: str) -> AsyncIterator[Any]:
    """A function that makes a layer of a class on the shared server; closed afterwards."""
    async with AsyncExitStack() as stack:

        def make(kind: Any, **options: Any) -> Any:
            layer = kind(**{"hosts": [redis_server.url], "prefix": prefix} | options)
            stack.push_async_callback(layer.aclose)
            return layer

        yield make


async def test_promise_2_an_idle_queue_consumer_lives(make: Any) -> None:
    """A receiver that waits for more than 6 s (redis-py's time-out is 5 s) gets its message."""
    layer = make(RedisChannelLayer)
    channel = await layer.new_channel()
    waiting = [asyncio.create_task(layer.receive(name)) for name in (channel, "jobs")]
    await asyncio.sleep(6.5)
    for name in (channel, "jobs"):
        await layer.send(name, {"to": name})
    async with asyncio.timeout(30):
        assert await asyncio.gather(*waiting) == [{"to": channel}, {"to": "jobs"}]


async def test_promise_3_every_spelling_of_sentinel(
    kind: Any, make: Any, sentinel_group: SentinelGroup
) -> None:
    """`sentinels=`, the `hosts` form and the URL reach the primary; a misspelt name is refused."""
    service = {
        "sentinels": sentinel_group.addresses,
        "sentinel_kwargs": {"password": sentinel_group.sentinel_password},
    }
    spellings: list[dict[str, Any]] = [
        {
            **service,
            "hosts": None,
            "service_name": sentinel_group.service_name,
            "connection_kwargs": {"password": sentinel_group.password},
        },
        {
            "hosts": [
                {
                    **service,
                    "master_name": sentinel_group.service_name,
                    "password": sentinel_group.password,
                }
            ]
        },
        {"hosts": [sentinel_group.url]},
    ]
    layers = [make(kind, **spelling) for spelling in spellings]
    channels = [await layer.new_channel() for layer in layers]
    for layer, channel in zip(layers, channels, strict=True):
        await layers[0].send(channel, {"type": "hello"})
        assert await messages(layer, channel) == [{"type": "hello"}]
    with pytest.raises(TypeError, match="sentinel_name"):
        kind(sentinels=sentinel_group.addresses, sentinel_name="misspelt")


def test_promise_13_the_documented_import() -> None:
    """`from fast_channels.layers import RedisChannelLayer` works, and is the one class."""
    layers = importlib.import_module("fast_channels.layers")
    assert layers.RedisChannelLayer is RedisChannelLayer
    assert layers.RedisPubSubChannelLayer is RedisPubSubChannelLayer


async def test_promise_14_the_hooks_fire() -> None:
    """`on_disconnect` and `on_reconnect` are called when the connection is killed."""
    calls: list[str] = []
    with RedisServer() as server:
        layer = RedisPubSubChannelLayer(
            [server.url],
            on_disconnect=lambda: calls.append("gone"),
            on_reconnect=lambda: calls.append("back"),
        )
        async with layer:
            await layer.new_channel()
            server.execute("CLIENT", "KILL", "TYPE", "pubsub")
            await eventually(lambda: calls == ["gone", "back"], "both hooks")


async def test_promise_15_an_undecodable_message_ends_nobody(
    kind: Any, make: Any, redis_server: RedisServer, prefix: str
) -> None:
    """Another app's bytes and another key's messages are skipped and counted; `receive` goes on."""
    layer = make(kind, symmetric_encryption_keys=["ours"])
    stranger = make(kind, symmetric_encryption_keys=["theirs"])
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    receiving = asyncio.create_task(layer.receive(channel))
    async with redis.asyncio.Redis.from_url(redis_server.url, protocol=2) as client:
        for garbage in (b"", b"garbage", b"1-1 \xff\xff", b"x-y " + bytes(40), bytes(200)):
            await client.publish(f"{prefix}:g:{{room}}", garbage)
    await stranger.group_send("room", {"type": "unreadable"})
    await stranger.send(channel, {"type": "unreadable"})
    await eventually(lambda: layer.undecodable == 7, "7 messages to be skipped")
    await layer.group_send("room", {"type": "readable"})
    async with asyncio.timeout(30):
        assert await receiving == {"type": "readable"}


async def test_promise_15_nor_the_messages_that_came_with_it(
    kind: Any, make: Any, redis_server: RedisServer, prefix: str
) -> None:
    """Those that travelled beside an undecodable one are received, whichever it was."""
    layer = make(kind)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    payloads = [b"garbage", layer.serialize({"number": 1}), b"", layer.serialize({"number": 2})]
    envelope = encode(bytes(UID_LENGTH), [encode_message("", payload) for payload in payloads])
    head = b"1-1 - " if kind is RedisChannelLayer else b""
    async with redis.asyncio.Redis.from_url(redis_server.url, protocol=2) as client:
        await client.publish(f"{prefix}:g:{{room}}", head + envelope)
    assert await messages(layer, channel, 2) == [{"number": 1}, {"number": 2}]
    assert layer.undecodable == 2
