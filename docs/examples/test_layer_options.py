"""What the page on layers shows."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.exceptions import ChannelFull, ChannelLayerUnavailable
from fast_channels.layers import (
    InMemoryChannelLayer,
    RedisChannelLayer,
    RedisPubSubChannelLayer,
    register_channel_layer,
    register_encoder,
    unregister_channel_layer,
)
from fast_channels.testing import WebsocketCommunicator

from ..fast_channels.support.redis_servers import RedisServer


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


# gap
class TickerConsumer(AsyncJsonWebsocketConsumer):
    groups = ("ticker",)
    overflow = "drop_oldest"  # a slow reader wants the newest prices, not all of them

    async def ticker_price(self, event: dict[str, Any]) -> None:
        await self.send_json({"price": event["price"]})

    async def layer_reconnected(self, message: dict[str, Any]) -> None:
        await self.send_json({"reload": True})  # prices may be missing: the page asks for all


# end
async def test_a_gap_is_told(redis_server: RedisServer) -> None:
    """When the connection to Redis breaks, the socket stays and its consumer hears of it."""
    layer = RedisPubSubChannelLayer([redis_server.url], prefix="gap")
    register_channel_layer("default", layer)
    async with layer, WebsocketCommunicator(TickerConsumer, "/") as client:
        redis_server.execute("CLIENT", "KILL", "TYPE", "pubsub")
        assert await client.receive_json_from(timeout=5) == {"reload": True}
        await layer.group_send("ticker", {"type": "ticker.price", "price": 12})
        assert await client.receive_json_from(timeout=5) == {"price": 12}
    unregister_channel_layer("default")


async def test_encoder() -> None:
    """A datetime arrives as text."""
    # encoder
    register_encoder(datetime, datetime.isoformat)
    register_encoder(BaseModel, lambda model: model.model_dump(mode="json"))

    # end
    layer = InMemoryChannelLayer()
    await layer.send("jobs", {"type": "report", "at": datetime(2030, 1, 2, tzinfo=UTC)})
    assert await layer.receive("jobs") == {"type": "report", "at": "2030-01-02T00:00:00+00:00"}


async def test_options(redis_server: RedisServer) -> None:
    """A day's patience, room for many, keys for encryption."""
    hosts = [redis_server.url]
    # options
    layer = RedisChannelLayer(
        hosts,
        prefix="shop.jobs",
        expiry=86_400,  # seconds that a job may wait for a worker
        capacity=10_000,  # jobs in each channel
        channel_capacity={"mail.*": 500},
        symmetric_encryption_keys=["the key in use", "the key before it"],
    )
    # end
    async with layer:
        await layer.send("jobs", {"type": "job.run"})
        async with asyncio.timeout(5):
            assert await layer.receive("jobs") == {"type": "job.run"}


async def test_a_full_channel_and_an_outage() -> None:
    """The sender is told, by one error each."""
    with RedisServer() as server:
        layer = RedisChannelLayer([server.url], capacity=1, timeout=0.5)
        async with layer:
            await layer.send("jobs", {"type": "job.run"})
            with pytest.raises(ChannelFull):
                await layer.send("jobs", {"type": "job.run"})
            server.kill()
            with pytest.raises(ChannelLayerUnavailable):
                await layer.send("jobs", {"type": "job.run"})
