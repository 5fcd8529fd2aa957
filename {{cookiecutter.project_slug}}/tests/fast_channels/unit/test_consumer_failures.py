"""A WebSocket consumer that fails: what its client sees, and that disconnect() runs once.

That no channel, group or task is left is checked by the fixture `memory_layer` after each test.
"""

import asyncio
from typing import Any

import pytest

from fast_channels.exceptions import ChannelLayerUnavailable
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.testing import WebsocketCommunicator

from ..support.expect import eventually
from ..support.sample_consumers import Member, connected

pytestmark = pytest.mark.usefixtures("memory_layer")


@pytest.mark.parametrize("how", ["frame", "message", "unknown type"])
async def test_handler_fails(
    memory_layer: InMemoryChannelLayer, codes: list[int], how: str
) -> None:
    """A handler's error closes with 1011, calls disconnect(1011) and reaches the server's log."""
    client = await connected()
    if how == "frame":
        await client.send_to("fail")
    else:
        kind = "note.fail" if how == "message" else "no.such.handler"
        await memory_layer.group_send("by.call", {"type": kind})
    with pytest.raises(ValueError if how == "unknown type" else ZeroDivisionError):
        await client.wait()
    assert await client.receive_output() == {"type": "websocket.close", "code": 1011}
    assert codes == [1011]


async def test_connect_fails_before_accept(codes: list[int]) -> None:
    """An error before accept() sends nothing, so that the server can answer HTTP 500."""

    class Failing(Member):
        async def connect(self) -> None:
            await self.channel_layer.group_add("by.call", self.channel_name)
            raise ZeroDivisionError

    client = WebsocketCommunicator(Failing, "/")
    await client.send_input({"type": "websocket.connect"})
    with pytest.raises(ZeroDivisionError):
        await client.receive_output()
    assert codes == [1011]


async def test_connect_fails_after_accept(codes: list[int]) -> None:
    """An error after accept() in connect() closes with 1011."""

    class Failing(Member):
        async def connect(self) -> None:
            await super().connect()
            raise ZeroDivisionError

    client = await connected(Failing)
    with pytest.raises(ZeroDivisionError):
        await client.wait()
    assert await client.receive_output() == {"type": "websocket.close", "code": 1011}
    assert codes == [1011]


async def test_disconnect_fails(codes: list[int]) -> None:
    """An error in disconnect() reaches the server's log; disconnect() is not called again."""

    class Failing(Member):
        async def disconnect(self, code: int) -> None:
            await super().disconnect(code)
            raise ZeroDivisionError

    client = await connected(Failing)
    with pytest.raises(ZeroDivisionError):
        await client.disconnect()
    assert codes == [1000]


async def test_disconnect_fails_after_a_handler(
    codes: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """If disconnect() fails after a handler failed, the first error is raised, the second logged."""

    class Failing(Member):
        async def disconnect(self, code: int) -> None:
            await super().disconnect(code)
            raise KeyError("the second error")

    client = await connected(Failing)
    await client.send_to("fail")
    with pytest.raises(ZeroDivisionError):
        await client.wait()
    assert codes == [1011]
    assert "the second error" in caplog.text


async def test_broker_fails_while_leaving(
    memory_layer: InMemoryChannelLayer, codes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """disconnect() is called also if the broker cannot be told that a group is left."""

    async def unavailable(group: str, channel: str) -> None:
        raise ChannelLayerUnavailable("the broker is away")

    client = await connected()
    monkeypatch.setattr(memory_layer, "group_discard", unavailable)
    await client.disconnect()
    assert codes == [1000]


async def test_client_is_gone_while_sending(codes: list[int]) -> None:
    """A server that raises OSError for a client that has left causes no error of the consumer."""
    events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    class Telling(Member):
        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            await self.send("into the void")
            await self.close()
            await events.put({"type": "websocket.disconnect", "code": 1006})

    async def send(event: Any) -> None:
        if event["type"] != "websocket.accept":
            raise BrokenPipeError

    await events.put({"type": "websocket.connect"})
    await events.put({"type": "websocket.receive", "text": "hello"})
    async with asyncio.timeout(30):
        await Telling.as_asgi()({"type": "websocket"}, events.get, send)
    assert codes == [1006]


async def test_handler_fails_after_the_client_has_left(codes: list[int]) -> None:
    """An error after disconnect() reaches the server's log, and disconnect() is not called again."""
    started, gate = asyncio.Event(), asyncio.Event()

    class Late(Member):
        disconnect_patience = 0.01

        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            started.set()
            await gate.wait()
            raise ZeroDivisionError

    client = await connected(Late)
    await client.send_to("work")
    await eventually(started.is_set, "the handler to start")
    await client.send_input({"type": "websocket.disconnect", "code": 1001})
    await eventually(lambda: codes == [1001], "disconnect()")
    gate.set()
    with pytest.raises(ZeroDivisionError):
        await client.wait()
    assert codes == [1001]


async def test_handler_that_is_cancelled_from_inside(codes: list[int]) -> None:
    """A CancelledError of the handler's own ends the socket; it does not leave it open and deaf."""

    class Waiting(Member):
        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            task = asyncio.create_task(asyncio.Event().wait())
            task.cancel()
            await task

    client = await connected(Waiting)
    await client.send_to("work")
    with pytest.raises(RuntimeError, match="was cancelled"):
        await client.receive_output()
    assert (await client.receive_output())["type"] == "websocket.close"
    assert len(codes) == 1


async def test_server_fails(codes: list[int]) -> None:
    """An error of the server's receive() ends the consumer like an error of its own."""
    events = iter([{"type": "websocket.connect"}])

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        try:
            return next(events)
        except StopIteration:
            raise ConnectionResetError from None

    async def send(event: Any) -> None:
        """Into the void."""

    with pytest.raises(ConnectionResetError):
        await Member.as_asgi()({"type": "websocket"}, receive, send)
    assert codes == [1011]


async def test_server_fails_after_a_handler(codes: list[int]) -> None:
    """The handler's error is the consumer's end: its disconnect() is not cut short by the other one."""
    failed = asyncio.Event()

    class Failing(Member):
        async def connect(self) -> None:
            raise ZeroDivisionError

        async def disconnect(self, code: int) -> None:
            failed.set()
            await asyncio.sleep(0.02)
            await super().disconnect(code)

    async def receive() -> dict[str, Any]:
        if events:
            return events.pop()
        await failed.wait()
        raise ConnectionResetError

    async def send(event: Any) -> None:
        """Into the void."""

    events = [{"type": "websocket.connect"}]
    with pytest.raises(ZeroDivisionError):
        await Failing.as_asgi()({"type": "websocket"}, receive, send)
    assert codes == [1011]
