"""Reading dead letters from Redis."""

import asyncio
from typing import Any

import redis.asyncio

from fast_channels.consumer import AsyncConsumer
from fast_channels.layers import RedisChannelLayer
from fast_channels.layers.redis.envelope import decode
from fast_channels.worker import Worker
from redis_servers import RedisServer


# read
async def dead_letters(
    layer: RedisChannelLayer, client: "redis.asyncio.Redis", channel: str
) -> list[dict[str, Any]]:
    """The messages that no attempt could handle, oldest first."""
    entries = await client.xrange(f"{layer.prefix}:d:{{{channel}}}")
    return [layer.deserialize(decode(fields[b"m"]).payload) for _, fields in entries]


# end
class FailingConsumer(AsyncConsumer):
    async def fail(self, message: dict[str, Any]) -> None:
        raise RuntimeError("never works")


async def test_dead_letters_are_in_redis() -> None:
    """The message lands in the stream of dead letters, and can be read with redis-py."""
    with RedisServer() as server:
        layer = RedisChannelLayer([server.url], prefix="shop.jobs")
        client = redis.asyncio.Redis.from_url(server.url)
        async with client, layer, Worker(layer, {"bills": FailingConsumer}, max_attempts=1):
            await layer.send("bills", {"type": "fail", "number": 7})
            async with asyncio.timeout(10):
                while not (letters := await dead_letters(layer, client, "bills")):
                    await asyncio.sleep(0.02)
            assert letters == [{"type": "fail", "number": 7}]
