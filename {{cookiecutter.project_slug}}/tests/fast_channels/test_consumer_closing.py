"""How a WebSocket consumer closes its socket."""

import asyncio
from typing import Any

import pytest

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.testing import WebsocketCommunicator
from sample_consumers import calling

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
