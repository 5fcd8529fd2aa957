"""Promises that libraries of this family have made and broken, about consumers."""

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.routing import Mount, WebSocketRoute
from websockets.asyncio.client import connect

from fast_channels.consumer import (
    AsyncHttpConsumer,
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
)
from fast_channels.exceptions import InvalidChannelLayerError
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.testing import HttpCommunicator, WebsocketCommunicator

from ..support.expect import eventually
from ..support.uvicorn_server import serving

pytestmark = pytest.mark.usefixtures("memory_layer")


class Room(AsyncJsonWebsocketConsumer):
    """Says which room its path names."""

    async def connect(self) -> None:
        await self.accept()
        await self.send_json({"room": self.scope["path_params"]["room"]})


async def test_promise_1_quick_start_on_current_fastapi() -> None:
    """A consumer is a route of a current FastAPI app, in a sub-app with path parameters."""
    app = FastAPI()
    app.router.routes.append(Mount("/ws", routes=[WebSocketRoute("/chat/{room}", Room.as_asgi())]))
    async with (
        serving(app) as address,
        connect(f"ws://{address}/ws/chat/lobby") as client,
    ):
        assert await client.recv() == '{"room": "lobby"}'


async def test_promise_5_communicator_takes_the_class() -> None:
    """WebsocketCommunicator(ChatConsumer, path) works with the consumer class itself."""

    class Echo(AsyncWebsocketConsumer):
        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            await self.send(text_data)

    for application in (Echo, Echo.as_asgi()):
        async with WebsocketCommunicator(application, "/ws/") as client:
            await client.send_to("hello")
            assert await client.receive_from() == "hello"


async def test_promise_10_failed_socket_leaves_its_groups(
    memory_layer: InMemoryChannelLayer,
) -> None:
    """A handler's exception calls disconnect(), and the dead socket is in no group afterwards."""
    codes = []

    class Failing(AsyncWebsocketConsumer):
        groups = ("room",)

        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            await self.channel_layer.group_add("joined.later", self.channel_name)
            raise ZeroDivisionError

        async def disconnect(self, code: int) -> None:
            codes.append(code)

    client = WebsocketCommunicator(Failing, "/")
    await client.connect()
    await client.send_to("go")
    with pytest.raises(ZeroDivisionError):
        await client.wait()
    assert codes == [1011]
    assert memory_layer.local.members == {}


async def test_promise_11_send_with_close_uses_a_close_code() -> None:
    """send(close=True) sends the frame and then a close with the int 1000, never with True."""

    class Last(AsyncWebsocketConsumer):
        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            await self.send("last", close=True)

    async with WebsocketCommunicator(Last, "/") as client:
        await client.send_to("go")
        assert await client.receive_from() == "last"
        event = await client.receive_output()
    assert event == {"type": "websocket.close", "code": 1000}
    assert type(event["code"]) is int


async def test_promise_12_misspelt_alias_is_an_error() -> None:
    """A consumer whose layer alias is not registered fails at its first connection, and says so."""

    class Misspelt(AsyncWebsocketConsumer):
        channel_layer_alias = "defualt"

    with pytest.raises(InvalidChannelLayerError, match="'defualt'"):
        async with WebsocketCommunicator(Misspelt, "/"):
            """It must not connect."""


async def test_promise_16_slow_handler_does_not_delay_the_disconnect() -> None:
    """disconnect() runs promptly beside a slow handler, and the handler may finish its work."""
    story: list[str] = []
    gate = asyncio.Event()

    class Slow(AsyncWebsocketConsumer):
        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            story.append("start")
            await gate.wait()
            story.append("end")

        async def disconnect(self, code: int) -> None:
            story.append("disconnect")

    client = WebsocketCommunicator(Slow, "/")
    await client.connect()
    await client.send_to("work")
    await eventually(lambda: story == ["start"], "the handler to start")
    await client.send_input({"type": "websocket.disconnect", "code": 1001})
    await eventually(lambda: story == ["start", "disconnect"], "disconnect()", within=5)
    gate.set()
    await client.wait()
    assert story == ["start", "disconnect", "end"]


async def test_promise_16_streaming_sees_the_client_leave() -> None:
    """An HTTP consumer that streams is told at once that its client has left."""
    story: list[str] = []

    class Streaming(AsyncHttpConsumer):
        async def handle(self, body: bytes) -> None:
            await self.send_headers()
            await self.send_body(b"first", more_body=True)
            await asyncio.Event().wait()

        async def disconnect(self) -> None:
            story.append("disconnect")

    async with HttpCommunicator(Streaming, "/") as client:
        await client.send_request()
        await client.receive_output()
        await client.receive_output()
        await client.send_input({"type": "http.disconnect"})
        await client.wait(timeout=5)
    assert story == ["disconnect"]
