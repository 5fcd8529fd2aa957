"""A client of an HTTP consumer that leaves, before, within and after the response."""

import asyncio

import pytest

from fast_channels.consumer import AsyncHttpConsumer
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.testing import ApplicationCommunicator

from ..support.expect import eventually
from ..support.http_consumers import LEAVE, SCOPE, Echo, Noting, request

pytestmark = pytest.mark.usefixtures("memory_layer")


async def test_client_leaves_before_the_body_is_there() -> None:
    """A client that leaves while it sends its body ends the consumer without handle()."""
    ends: list[str] = []
    async with ApplicationCommunicator(Echo.as_asgi(ends=ends), SCOPE) as client:
        await client.send_input(request(b"half", more=True))
        await client.send_input(LEAVE)
        await client.wait()
        assert await client.receive_nothing(0)
    assert ends == ["disconnect"]


@pytest.mark.parametrize("how", ["client leaves", "server cancels"])
async def test_streaming_is_cancelled(how: str) -> None:
    """handle() is cancelled when the client has left or the server stops, and disconnect() runs."""
    ends: list[str] = []

    class Endless(Noting):
        async def handle(self, body: bytes) -> None:
            await self.send_headers()
            try:
                await self.send_body(b"tick", more_body=True)
                await asyncio.Event().wait()
            finally:
                self.ends.append("cancelled")

    async with ApplicationCommunicator(Endless.as_asgi(ends=ends), SCOPE) as client:
        await client.send_input(request())
        await client.receive_output()
        await client.receive_output()
        if how == "client leaves":
            await client.send_input(LEAVE)
            await client.wait(timeout=5)
        else:
            await client.stop()
    assert sorted(ends) == ["cancelled", "disconnect"]


async def test_work_after_the_response() -> None:
    """What handle() does after the last part of its response is not cut off by the client."""
    story: list[str] = []
    gate = asyncio.Event()

    class Auditing(Noting):
        async def handle(self, body: bytes) -> None:
            await self.send_response(200, b"done")
            story.append("sent")
            await gate.wait()
            story.append("audited")

    async with ApplicationCommunicator(Auditing, SCOPE) as client:
        await client.send_input(request())
        await eventually(lambda: story == ["sent"], "the response")
        await client.receive_output()
        await client.receive_output()
        await client.send_input(LEAVE)
        assert await client.receive_nothing(0.05)
        gate.set()
        await client.wait()
    assert story == ["sent", "audited"]


async def test_long_polling(memory_layer: InMemoryChannelLayer) -> None:
    """handle() may wait for a message of the layer on the consumer's own channel."""

    class Polling(AsyncHttpConsumer):
        async def handle(self, body: bytes) -> None:
            await self.channel_layer.group_add("news", self.channel_name)
            await self.send_headers()
            await self.send_body(b"", more_body=True)
            message = await self.channel_layer.receive(self.channel_name)
            await self.send_body(message["text"].encode())

    async with ApplicationCommunicator(Polling, SCOPE) as client:
        await client.send_input(request())
        await client.receive_output()
        await client.receive_output()
        await memory_layer.group_send("news", {"type": "news", "text": "extra"})
        assert (await client.receive_output())["body"] == b"extra"
        await client.wait()
