"""Consumers behind a real server, with a real client: what travels over the wire."""

import asyncio
import logging
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fast_channels.consumer import AsyncHttpConsumer, AsyncWebsocketConsumer
from fast_channels.layers import InMemoryChannelLayer

from ..support.expect import eventually
from ..support.uvicorn_server import serving

pytestmark = pytest.mark.usefixtures("memory_layer", "each_protocol")


class Server(AsyncWebsocketConsumer):
    """Does what the path or a frame says."""

    groups = ("everyone",)

    async def connect(self) -> None:
        if self.scope["path"] == "/refuse":
            await self.close(4000)
        elif self.scope["path"] == "/fail":
            raise ZeroDivisionError
        else:
            offered = self.scope["subprotocols"]
            await self.accept(offered[-1] if offered else None, headers=[("x-greeting", "hello")])

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        if text_data == "fail":
            raise ZeroDivisionError
        if text_data == "bye":
            await self.send("bye", close=True)
        else:
            await self.send(text_data, bytes_data, close=4001 if text_data == "4001" else False)

    async def note(self, message: dict[str, Any]) -> None:
        await self.send(message["text"])

    async def disconnect(self, code: int) -> None:
        logging.getLogger("test").info("disconnect %d", code)


async def close_code(client: Any) -> int:
    """The code with which the server closes, after nothing else."""
    with pytest.raises(ConnectionClosed) as caught:
        await client.recv()
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code


async def test_accept_over_the_wire() -> None:
    """Subprotocol and headers reach the client, text and bytes come back."""
    async with (
        serving(Server.as_asgi()) as address,
        connect(f"ws://{address}/", subprotocols=["v1", "v2"]) as client,  # type: ignore[list-item]
    ):
        assert client.subprotocol == "v2"
        assert client.response is not None
        assert client.response.headers["x-greeting"] == "hello"
        for frame in ("text", b"bytes", ""):
            await client.send(frame)
            assert await client.recv() == frame


async def test_handler_failure_is_1011(caplog: pytest.LogCaptureFixture) -> None:
    """A handler's error closes the client's socket with 1011, and is in the server's log."""
    caplog.set_level(logging.INFO, "test")
    async with serving(Server.as_asgi()) as address, connect(f"ws://{address}/") as client:
        await client.send("fail")
        assert await close_code(client) == 1011
        await eventually(lambda: "disconnect 1011" in caplog.text, "disconnect()")
    assert "ZeroDivisionError" in caplog.text


async def test_failure_while_connecting_is_http_500(caplog: pytest.LogCaptureFixture) -> None:
    """An error before accept() is an HTTP 500 to the client."""
    async with serving(Server.as_asgi()) as address:
        with pytest.raises(InvalidStatus) as caught:
            await connect(f"ws://{address}/fail").__aenter__()
    assert caught.value.response.status_code == 500
    assert "ZeroDivisionError" in caplog.text


async def test_refusal_is_http_403() -> None:
    """close() before accept() is an HTTP 403 to the client."""
    async with serving(Server.as_asgi()) as address:
        with pytest.raises(InvalidStatus) as caught:
            await connect(f"ws://{address}/refuse").__aenter__()
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize(("frame", "code"), [("bye", 1000), ("4001", 4001)])
async def test_close_over_the_wire(frame: str, code: int, caplog: pytest.LogCaptureFixture) -> None:
    """send(close=…) sends the frame, then closes cleanly; disconnect() gets the same code."""
    caplog.set_level(logging.INFO, "test")
    async with serving(Server.as_asgi()) as address, connect(f"ws://{address}/") as client:
        await client.send(frame)
        assert await client.recv() == frame
        assert await close_code(client) == code
        await eventually(lambda: f"disconnect {code}" in caplog.text, "disconnect()")
    assert "Exception" not in caplog.text


async def test_group_messages_survive_clients_that_vanish(
    memory_layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    """Sockets that break without a farewell neither raise nor hold up a group."""
    async with serving(Server.as_asgi()) as address, connect(f"ws://{address}/") as stable:
        vanishing = [await connect(f"ws://{address}/") for _ in range(5)]
        for client in vanishing:
            client.transport.abort()
        for number in range(20):
            await memory_layer.group_send("everyone", {"type": "note", "text": str(number)})
        assert [await stable.recv() for _ in range(20)] == [str(number) for number in range(20)]
        await eventually(lambda: len(memory_layer.local.members["everyone"]) == 1, "them to leave")
    assert "Exception" not in caplog.text


async def test_server_stops(caplog: pytest.LogCaptureFixture) -> None:
    """When the server stops, each socket is closed and each disconnect() runs."""
    caplog.set_level(logging.INFO, "test")
    async with serving(Server.as_asgi()) as address:
        clients = [await connect(f"ws://{address}/") for _ in range(3)]
    for client in clients:
        assert await close_code(client) == 1012
    assert caplog.text.count("disconnect 1012") == 3


async def test_http_over_the_wire() -> None:
    """An HTTP consumer behind a server; one whose client leaves is cancelled at once."""
    story: list[str] = []

    class Streaming(AsyncHttpConsumer):
        async def handle(self, body: bytes) -> None:
            if body:
                await self.send_response(200, body)
                await asyncio.sleep(0.02)
                story.append("after the response")
                return
            await self.send_headers()
            await self.send_body(b"first", more_body=True)
            await asyncio.Event().wait()

        async def disconnect(self) -> None:
            story.append("disconnect")

    async with (
        serving(Streaming.as_asgi()) as address,
        httpx.AsyncClient(base_url=f"http://{address}") as client,
    ):
        assert (await client.post("/", content=b"hello")).text == "hello"
        await eventually(lambda: len(story) == 2, "the first request to end")
        assert sorted(story) == ["after the response", "disconnect"]
        async with client.stream("GET", "/") as response:
            async for part in response.aiter_bytes():
                assert part == b"first"
                break
        await eventually(lambda: len(story) == 3, "the second request to end")
    assert story[2] == "disconnect"
