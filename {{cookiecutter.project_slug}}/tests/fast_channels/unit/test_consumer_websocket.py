"""What a WebSocket consumer offers its author: accepting, frames, groups."""

import asyncio
from typing import Any

import pytest

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.exceptions import AcceptConnection, DenyConnection, InvalidChannelLayerError
from fast_channels.layers import InMemoryChannelLayer, unregister_channel_layer
from fast_channels.testing import ConnectionRefused, WebsocketCommunicator

from ..support.sample_consumers import calling

pytestmark = pytest.mark.usefixtures("memory_layer")


def connecting(connect: Any) -> type[AsyncWebsocketConsumer]:
    return type("Connecting", (AsyncWebsocketConsumer,), {"connect": connect})


# Accepting and refusing


async def test_accepts_by_default() -> None:
    """Without a connect() of its own a consumer accepts, with no subprotocol and no headers."""
    client = WebsocketCommunicator(AsyncWebsocketConsumer, "/")
    await client.send_input({"type": "websocket.connect"})
    assert await client.receive_output() == {
        "type": "websocket.accept",
        "subprotocol": None,
        "headers": [],
    }
    await client.disconnect()


async def test_accept_with_subprotocol_and_headers() -> None:
    """The subprotocol goes out as it is, header pairs as latin-1 bytes."""

    async def connect(self: AsyncWebsocketConsumer) -> None:
        assert self.scope["subprotocols"] == ["v1", "v2"]
        await self.accept("v2", headers=[("x-room", "café"), (b"x-raw", b"\xff")])

    client = WebsocketCommunicator(connecting(connect), "/", subprotocols=["v1", "v2"])
    await client.send_input({"type": "websocket.connect"})
    event = await client.receive_output()
    assert event["subprotocol"] == "v2"
    assert event["headers"] == [(b"x-room", b"caf\xe9"), (b"x-raw", b"\xff")]
    await client.disconnect()


@pytest.mark.parametrize(
    ("signal", "connected", "code"), [(AcceptConnection, True, None), (DenyConnection, False, 1000)]
)
async def test_signals_of_connect(signal: Any, connected: bool, code: int | None) -> None:
    """AcceptConnection accepts and DenyConnection refuses, raised from wherever in connect()."""

    async def connect(self: AsyncWebsocketConsumer) -> None:
        raise signal

    client = WebsocketCommunicator(connecting(connect), "/")
    assert await client.connect() == (connected, code)
    await client.disconnect()


async def test_close_while_connecting_refuses() -> None:
    """close() in connect() refuses with its code; the socket cannot be accepted afterwards."""

    async def connect(self: AsyncWebsocketConsumer) -> None:
        await self.close(4000)
        with pytest.raises(RuntimeError, match=r"accept\(\) needs a CONNECTING socket, not CLOSED"):
            await self.accept()

    with pytest.raises(ConnectionRefused) as caught:
        await WebsocketCommunicator(connecting(connect), "/").__aenter__()
    assert caught.value.code == 4000


async def test_accept_twice() -> None:
    """A second accept() is a RuntimeError that names the socket's state."""
    consumer = calling(accept=lambda self: self.accept())
    async with WebsocketCommunicator(consumer, "/") as client:
        await client.send_to("accept")
        expected = "RuntimeError: accept() needs a CONNECTING socket, not OPEN"
        assert await client.receive_from() == expected


async def test_send_before_accept() -> None:
    """Sending on a socket that is not accepted is a RuntimeError that says what to call."""

    async def connect(self: AsyncWebsocketConsumer) -> None:
        with pytest.raises(RuntimeError, match=r"call accept\(\) first"):
            await self.send("too early")
        await self.accept()

    async with WebsocketCommunicator(connecting(connect), "/") as client:
        assert await client.receive_nothing(0.02)


# Frames


@pytest.mark.parametrize(
    "arguments", [{}, {"text_data": "a", "bytes_data": b"b"}, {"text_data": None}]
)
async def test_send_takes_exactly_one_of_text_and_bytes(arguments: dict[str, Any]) -> None:
    """send() with neither or both is a ValueError, not a frame that the server refuses."""
    consumer = calling(send=lambda self: self.send(**arguments))
    async with WebsocketCommunicator(consumer, "/") as client:
        await client.send_to("send")
        assert "ValueError: send() takes either" in str(await client.receive_from())


@pytest.mark.parametrize("frame", ["", "hello", "ünïcode ✓", b"", b"\x00\xff"])
async def test_frames_come_and_go_as_they_are(frame: str | bytes) -> None:
    """Text stays text and bytes stay bytes, also when empty; the other argument is None."""

    class Echo(AsyncWebsocketConsumer):
        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            assert (text_data is None) != (bytes_data is None)
            await self.send(text_data=text_data, bytes_data=bytes_data)

    async with WebsocketCommunicator(Echo, "/") as client:
        text, data = (frame, None) if isinstance(frame, str) else (None, frame)
        await client.send_to(text_data=text, bytes_data=data)
        assert await client.receive_from() == frame


# Groups


async def test_groups_are_joined_for_the_life_of_the_socket(
    memory_layer: InMemoryChannelLayer,
) -> None:
    """`groups` are joined before connect() and left before disconnect()."""
    got = []

    class Member(AsyncWebsocketConsumer):
        groups = ("room.a", "room.b")

        async def connect(self) -> None:
            await self.channel_layer.group_send("room.a", {"type": "note", "text": "in connect"})
            await self.accept()

        async def note(self, message: dict[str, Any]) -> None:
            got.append(message["text"])
            await self.send(message["text"])

        async def disconnect(self, code: int) -> None:
            await self.channel_layer.group_send("room.a", {"type": "note", "text": "too late"})
            await asyncio.sleep(0.01)

    async with WebsocketCommunicator(Member, "/") as client:
        await memory_layer.group_send("room.b", {"type": "note", "text": "to b"})
        assert await client.receive_from() == "in connect"
        assert await client.receive_from() == "to b"
    assert got == ["in connect", "to b"]


async def test_groups_need_a_layer(caplog: pytest.LogCaptureFixture) -> None:
    """A consumer with groups and no layer fails with one error, which says what to do, to the server."""
    codes: list[int] = []

    class Member(AsyncWebsocketConsumer):
        groups = ("room",)

        async def disconnect(self, code: int) -> None:
            codes.append(code)

    unregister_channel_layer("default")
    with pytest.raises(InvalidChannelLayerError, match="Member has no channel layer: register one"):
        await WebsocketCommunicator(Member, "/").connect()
    assert codes == [1011]
    assert caplog.records == []
