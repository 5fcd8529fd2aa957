"""Testing a consumer without a server."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from fast_channels.consumer import AsyncHttpConsumer, AsyncJsonWebsocketConsumer
from fast_channels.layers import (
    BaseChannelLayer,
    InMemoryChannelLayer,
    register_channel_layer,
    unregister_channel_layer,
)
from fast_channels.testing import HttpCommunicator, WebsocketCommunicator


class NewsConsumer(AsyncJsonWebsocketConsumer):
    groups = ("news",)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.channel_layer.group_send("news", {"type": "news.item", "text": content["text"]})

    async def news_item(self, event: dict[str, Any]) -> None:
        await self.send_json({"text": event["text"]})


class PingConsumer(AsyncHttpConsumer):
    async def handle(self, body: bytes) -> None:
        await self.send_response(200, b"pong", headers=[("content-type", "text/plain")])


# fixture
@pytest.fixture
async def layer() -> AsyncIterator[BaseChannelLayer]:
    """An in-memory layer of this test's own, registered as the default one."""
    async with InMemoryChannelLayer() as layer:
        register_channel_layer("default", layer)
        yield layer
    unregister_channel_layer("default")


# socket
async def test_news_reaches_every_reader(layer: BaseChannelLayer) -> None:
    """What one socket sends, the other receives."""
    async with (
        WebsocketCommunicator(NewsConsumer, "/news") as writer,
        WebsocketCommunicator(NewsConsumer, "/news") as reader,
    ):
        await writer.send_json_to({"text": "hello"})
        assert await reader.receive_json_from() == {"text": "hello"}


# layer
async def test_news_from_outside_a_socket(layer: BaseChannelLayer) -> None:
    """A test can speak to the consumer through the layer too."""
    async with WebsocketCommunicator(NewsConsumer, "/news") as reader:
        await layer.group_send("news", {"type": "news.item", "text": "from a job"})
        assert await reader.receive_json_from() == {"text": "from a job"}
        assert await reader.receive_nothing()


# http
async def test_ping() -> None:
    """An HTTP consumer answers a request."""
    response = await HttpCommunicator(PingConsumer, "/ping").get_response()
    assert response["status"] == 200
    assert response["body"] == b"pong"
