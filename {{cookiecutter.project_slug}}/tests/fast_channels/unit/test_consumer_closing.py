"""How a WebSocket consumer closes its socket."""

import asyncio
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.consumer.websocket import cut_reasons
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.testing import WebsocketCommunicator

from ..support.sample_consumers import calling
from ..support.uvicorn_server import serving

pytestmark = pytest.mark.usefixtures("memory_layer")


@pytest.mark.parametrize(
    ("close", "expected"),
    [
        (lambda self: self.close(), {"code": 1000}),
        (lambda self: self.close(4001), {"code": 4001}),
        (lambda self: self.close(code=4001, reason="bye"), {"code": 4001, "reason": "bye"}),
        (lambda self: self.close(True), {"code": 1000}),
    ],
)
async def test_close_code_and_reason(close: Any, expected: dict[str, Any]) -> None:
    """close() sends code 1000 unless told otherwise, and a reason only if there is one."""
    async with WebsocketCommunicator(calling(close=close), "/") as client:
        await client.send_to("close")
        event = await client.receive_output()
        assert event == {"type": "websocket.close", **expected}
        assert type(event["code"]) is int


ALLOWED = (1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999)
FORBIDDEN = (0, -1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 2**40)


@pytest.mark.usefixtures("each_protocol")
async def test_close_codes_on_the_wire() -> None:
    """What close() accepts the server can send; the rest is a ValueError that names it."""

    async def close(self: Any) -> None:
        for code in FORBIDDEN:
            with pytest.raises(ValueError, match=rf"1000 to 1003.* not {code}"):
                await self.close(code)
        await self.close(int(self.scope["path"][1:]))

    async with serving(calling(close=close).as_asgi()) as address:
        for code in ALLOWED:
            async with connect(f"ws://{address}/{code}") as client:
                await client.send("close")
                with pytest.raises(ConnectionClosed):
                    await client.recv()
                assert client.close_code == code


@pytest.mark.parametrize("code", [False, "1000", 1000.0, b"1"])
async def test_close_code_of_another_type(code: Any) -> None:
    """A ValueError that shows it, and the socket stays open."""
    async with WebsocketCommunicator(calling(close=lambda self: self.close(code)), "/") as client:
        await client.send_to("close")
        assert (
            await client.receive_from() == f"ValueError: A close code must be an int, not {code!r}"
        )


REASONS = {
    "x" * 123: "x" * 123,
    "x" * 124: "x" * 123,
    "\u0434" * 62: "\u0434" * 61,
    "x" * 121 + "\U0001f600": "x" * 121,
    "\ud800": "?",
}


@pytest.mark.usefixtures("each_protocol")
async def test_long_reason_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    """A server sends the 123 bytes that a close frame holds, whole characters, and counts it."""
    reasons, before = iter(REASONS), cut_reasons.total

    async def close(self: Any) -> None:
        await self.close(4000, next(reasons))

    async with serving(calling(close=close).as_asgi()) as address:
        for cut in REASONS.values():
            async with connect(f"ws://{address}/") as client:
                await client.send("close")
                with pytest.raises(ConnectionClosed):
                    await client.recv()
                assert (client.close_code, client.close_reason) == (4000, cut)
    assert "Exception" not in caplog.text
    assert cut_reasons.total - before == sum(
        len(one.encode(errors="replace")) > 123 for one in REASONS
    )


async def test_long_reason_is_an_error_in_a_test() -> None:
    """A communicator shows what a server would have to cut: the length that came and that is allowed."""
    consumer = calling(
        close=lambda self: self.close(4000, "x" * 124), type=lambda s: s.close(4000, 5)
    )
    async with WebsocketCommunicator(consumer, "/") as client:
        await client.send_to("close")
        assert "at most 123 bytes of UTF-8, not 124" in str(await client.receive_from())
        await client.send_to("type")
        assert "reason must be a str, not 5" in str(await client.receive_from())


@pytest.mark.parametrize("no_close", [False, None, 0])
async def test_send_without_close(no_close: Any) -> None:
    """A falsy `close` leaves the socket open, as in Django Channels."""
    consumer = calling(send=lambda self: self.send("hello", close=no_close))
    async with WebsocketCommunicator(consumer, "/") as client:
        await client.send_to("send")
        assert await client.receive_from() == "hello"
        assert await client.receive_nothing(0.02)


async def test_closed_socket_is_silent() -> None:
    """After close() nothing more goes out, a second close() is no error, and no frame comes in."""
    frames = []

    class Closing(AsyncWebsocketConsumer):
        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            frames.append(text_data)
            await self.close(4001)
            await self.close(4002)
            await self.send("after", close=True)

    async with WebsocketCommunicator(Closing, "/") as client:
        await client.send_to("first")
        await client.send_to("second")
        assert await client.receive_output() == {"type": "websocket.close", "code": 4001}
        await client.wait()
        assert await client.receive_nothing(0)
    assert frames == ["first"]


async def test_two_tasks_close_once() -> None:
    """Two closes at once, beside a slow connection, send one close event."""
    events = []
    gate = asyncio.Event()

    async def send(event: Any) -> None:
        events.append(event)
        await gate.wait()

    consumer = AsyncWebsocketConsumer()
    consumer._asgi_send = send
    both = asyncio.gather(consumer.close(4001), consumer.close(4002))
    await asyncio.sleep(0)
    gate.set()
    await both
    assert [event["code"] for event in events] == [4001]


async def test_slow_consumer_is_closed_if_its_policy_says_so(
    memory_layer: InMemoryChannelLayer,
) -> None:
    """With the overflow policy "close" a full mailbox ends the socket with 4008."""

    class Strict(AsyncWebsocketConsumer):
        overflow = "close"

        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            await self.channel_layer.group_add("crowd", self.channel_name)
            for _ in range(memory_layer.capacity + 1):
                await self.channel_layer.group_send("crowd", {"type": "note"})

        async def note(self, message: dict[str, Any]) -> None:
            """Too late."""

    async with WebsocketCommunicator(Strict, "/") as client:
        await client.send_to("go")
        event = await client.receive_output()
        assert (event["type"], event["code"]) == ("websocket.close", 4008)
        assert "faster" in event["reason"]
