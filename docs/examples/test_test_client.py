"""FastAPI's TestClient with consumers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from starlette.routing import WebSocketRoute

from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.layers import (
    InMemoryChannelLayer,
    get_channel_layer,
    register_channel_layer,
    unregister_channel_layer,
)
from fast_channels.middleware import OriginValidator


class NewsConsumer(AsyncJsonWebsocketConsumer):
    groups = ("news",)

    async def news_item(self, event: dict[str, Any]) -> None:
        await self.send_json({"text": event["text"]})


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with InMemoryChannelLayer() as layer:
        register_channel_layer("default", layer)
        yield
    unregister_channel_layer("default")


app = FastAPI(lifespan=lifespan)
sockets = APIRouter()
sockets.routes.append(WebSocketRoute("/news", NewsConsumer.as_asgi()))
app.mount("/ws", OriginValidator(sockets, ["self"]))


@app.post("/news", status_code=202)
async def publish(text: str) -> None:
    layer = get_channel_layer("default")
    assert layer is not None
    await layer.group_send("news", {"type": "news.item", "text": text})


# test
def test_news() -> None:
    """What is posted reaches a socket."""
    with (
        TestClient(app) as client,
        client.websocket_connect("/ws/news", headers={"origin": "http://testserver"}) as reader,
    ):
        assert client.post("/news?text=hello").status_code == 202
        assert reader.receive_json() == {"text": "hello"}
