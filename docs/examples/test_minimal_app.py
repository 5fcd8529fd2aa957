"""The smallest app around the runtime."""

from contextlib import asynccontextmanager

from fastapi import FastAPI

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.layers import InMemoryChannelLayer, get_channel_layer, register_channel_layer
from fast_channels.testing import HttpCommunicator, WebsocketCommunicator


class EchoConsumer(AsyncWebsocketConsumer):
    groups = ("echo",)

    async def receive(self, text_data=None, bytes_data=None):
        await self.channel_layer.group_send("echo", {"type": "echo.text", "text": text_data})

    async def echo_text(self, event):
        await self.send(text_data=event["text"])


@asynccontextmanager
async def lifespan(app: FastAPI):
    async with InMemoryChannelLayer() as layer:  # or RedisChannelLayer([url])
        register_channel_layer("default", layer)
        yield


app = FastAPI(lifespan=lifespan)
app.add_api_websocket_route("/ws/echo", EchoConsumer.as_asgi())


@app.post("/announcements", status_code=202)
async def announce(text: str) -> None:
    await get_channel_layer().group_send("echo", {"type": "echo.text", "text": text})


# end
async def test_the_echo_comes_back() -> None:
    """One socket, through the route, with the lifespan of the app."""
    async with lifespan(app), WebsocketCommunicator(app, "/ws/echo") as client:
        await client.send_to("hello")
        assert await client.receive_from() == "hello"


async def test_an_endpoint_tells_the_sockets() -> None:
    async with lifespan(app), WebsocketCommunicator(app, "/ws/echo") as client:
        http = HttpCommunicator(app, "/announcements?text=lunch", method="POST")
        assert (await http.get_response())["status"] == 202
        assert await client.receive_from() == "lunch"
