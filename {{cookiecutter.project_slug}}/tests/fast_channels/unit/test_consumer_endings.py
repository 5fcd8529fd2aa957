"""However a WebSocket consumer ends without an error: disconnect() runs once.

That no channel, group or task is left is checked by the fixture `memory_layer` after each test.
"""

import asyncio
import logging
from typing import Any

import pytest
from websockets.asyncio.client import connect

from fast_channels.exceptions import DenyConnection, StopConsumer
from fast_channels.testing import WebsocketCommunicator

from ..support.expect import eventually
from ..support.sample_consumers import Member, connected
from ..support.uvicorn_server import serving

pytestmark = pytest.mark.usefixtures("memory_layer")


# The client's leaving, the consumer's leaving


@pytest.mark.parametrize("code", [1000, 1001, 1006, 4999])
async def test_client_leaves(codes: list[int], code: int) -> None:
    """disconnect() gets the client's close code."""
    client = await connected()
    await client.disconnect(code)
    assert codes == [code]


async def test_client_leaves_without_a_code(codes: list[int]) -> None:
    """Without a code from the server disconnect() gets 1005, "no status" (RFC 6455, 7.1.5)."""
    client = await connected()
    await client.send_input({"type": "websocket.disconnect"})
    await client.wait()
    assert codes == [1005]


async def test_consumer_closes(codes: list[int]) -> None:
    """After close() the server's word of the end leads to disconnect(), with the sent code."""
    client = await connected()
    await client.send_to("close")
    await client.wait()
    assert codes == [4001]


async def test_consumer_refuses(codes: list[int]) -> None:
    """A refused socket leaves its groups and is told its end like any other."""

    class Refusing(Member):
        async def connect(self) -> None:
            await self.channel_layer.group_add("by.call", self.channel_name)
            raise DenyConnection

    client = WebsocketCommunicator(Refusing, "/")
    assert (await client.connect())[0] is False
    await client.wait()
    assert codes == [1006]


async def test_client_leaves_before_it_is_accepted(
    codes: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """A client that gives up during connect() is disconnected; what connect() then does is no error."""
    gate = asyncio.Event()

    class Slow(Member):
        disconnect_patience = 0.01

        async def connect(self) -> None:
            await gate.wait()
            await self.send("must not raise")
            await self.accept()
            await self.send("nor this")
            await self.close(4000)

        async def disconnect(self, code: int) -> None:
            await super().disconnect(code)
            gate.set()

    client = WebsocketCommunicator(Slow, "/")
    await client.send_input({"type": "websocket.connect"})
    await client.send_input({"type": "websocket.disconnect", "code": 1006})
    await client.wait()
    assert codes == [1006]
    assert await client.receive_nothing(0)
    assert caplog.text == ""


@pytest.mark.usefixtures("each_protocol")
@pytest.mark.parametrize("patience", [0.01, 5.0])
async def test_client_vanishes_while_connecting(
    codes: list[int], caplog: pytest.LogCaptureFixture, patience: float
) -> None:
    """On a server nothing is logged either, whether accept() comes before or after disconnect()."""
    started, gate = asyncio.Event(), asyncio.Event()

    class Slow(Member):
        disconnect_patience = patience

        async def connect(self) -> None:
            started.set()
            await gate.wait()
            await self.accept()
            await self.send("hello")

    async with serving(Slow.as_asgi()) as address:
        connecting = asyncio.create_task(connect(f"ws://{address}/").__aenter__())
        await eventually(started.is_set, "connect()")
        connecting.cancel()
        await asyncio.wait([connecting])
        if patience < 1:
            await eventually(lambda: len(codes) == 1, "disconnect()")
        gate.set()
        await eventually(lambda: len(codes) == 1, "disconnect()")
    assert len(codes) == 1
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == []


async def test_stop_consumer(codes: list[int]) -> None:
    """StopConsumer in a handler ends the consumer without an error; disconnect() runs all the same."""
    client = await connected()
    await client.send_to("stop")
    await client.wait()
    assert len(codes) == 1


async def test_stop_consumer_in_connect(codes: list[int]) -> None:
    """StopConsumer in connect() ends the consumer without an error; disconnect() runs as well."""

    class Stopping(Member):
        async def connect(self) -> None:
            raise StopConsumer

    client = WebsocketCommunicator(Stopping, "/")
    await client.send_input({"type": "websocket.connect"})
    await client.wait()
    assert len(codes) == 1


# Cancellation by the server


@pytest.mark.parametrize("busy", [False, True])
async def test_server_cancels(codes: list[int], busy: bool) -> None:
    """A cancelled consumer calls disconnect(1001), ends its handler and stays cancelled."""
    started, ended = asyncio.Event(), asyncio.Event()

    class Busy(Member):
        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    client = await connected(Busy)
    if busy:
        await client.send_to("work")
        await eventually(started.is_set, "the handler to start")
    await client.stop()
    assert client._task is not None
    assert client._task.cancelled()
    assert codes == [1001]
    assert ended.is_set() is busy
