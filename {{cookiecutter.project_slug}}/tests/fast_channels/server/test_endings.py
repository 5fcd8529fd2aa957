"""How a connection ends: what the application is told, what the client is told."""

import asyncio
import gc
import logging
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ProtocolError

from fast_channels.server import CompressedWebSocketProtocol, WebSocketProtocol, shared
from fast_channels.server.connection import Phase
from fast_channels.server.request import OpeningRequest
from fast_channels.type_defs import Event, Receive, Scope, Send

from ..support.expect import eventually
from ..support.raw_websocket import (
    BINARY,
    CLOSE,
    DEADLINE,
    PING,
    REQUEST,
    TEXT,
    RawClient,
    close_frame,
    frame,
    serving_in_thread,
    wait_until,
)
from ..support.uvicorn_server import serving

Body = Callable[[Receive, Send], Awaitable[Any]]


def accepting(body: Body) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """An application that accepts, and then runs the body of the test."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await body(receive, send)

    return app


class App:
    """Accepts, hands its receive and send to the test, and waits until the test is over."""

    def __init__(self) -> None:
        self.receive: Receive
        self.send: Send
        self.accepted = asyncio.Event()
        self.over = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.receive, self.send = receive, send
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        self.accepted.set()
        await self.over.wait()


async def closed(client: ClientConnection) -> tuple[int, str]:
    """Code and reason with which the server closes, after nothing else."""
    with pytest.raises(ConnectionClosed) as caught:
        await client.recv()
    received = caught.value.rcvd
    return (received.code, received.reason) if received else (1006, "")


def tuned(app: Any, **options: Any) -> Any:
    return serving(app, ws=WebSocketProtocol, **options)


async def test_return_closes_with_1000() -> None:
    """uvicorn's own protocol drops the connection, which is 1006 to the client."""

    async def body(receive: Receive, send: Send) -> None:
        await send({"type": "websocket.send", "text": "last words"})

    async with tuned(accepting(body)) as address, connect(f"ws://{address}/") as client:
        assert await client.recv() == "last words"
        assert await closed(client) == (1000, "")


async def test_error_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """After what was sent before; here too uvicorn's own says 1006."""

    async def body(receive: Receive, send: Send) -> None:
        await send({"type": "websocket.send", "text": "last words"})
        raise ZeroDivisionError

    async with tuned(accepting(body)) as address, connect(f"ws://{address}/") as client:
        assert await client.recv() == "last words"
        assert await closed(client) == (1011, "")
    assert "Exception in ASGI application" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_a_result_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """As uvicorn does."""

    async def app(scope: Scope, receive: Receive, send: Send) -> int:
        await send({"type": "websocket.accept"})
        return 7

    async with tuned(app) as address, connect(f"ws://{address}/") as client:
        assert await closed(client) == (1000, "")
    assert "should return None, but returned 7" in caplog.text


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({}, (1000, "")),
        ({"code": 4001, "reason": "enough"}, (4001, "enough")),
        ({"code": 1001, "reason": None}, (1001, "")),
        ({"code": None}, (1005, "")),
    ],
)
async def test_close(event: Event, expected: tuple[int, str]) -> None:
    """The application's close follows what it sent; its own code comes back as disconnect."""
    app = App()
    async with tuned(app) as address, connect(f"ws://{address}/") as client:
        await app.accepted.wait()
        await app.send({"type": "websocket.send", "text": "first"})
        await app.send({"type": "websocket.close", **event})
        code, reason = expected
        for _ in range(2):  # a further receive is told the same
            told = await app.receive()
            assert told == {"type": "websocket.disconnect", "code": code, "reason": reason}
        for kind in ("websocket.send", "websocket.close"):
            with pytest.raises(RuntimeError, match="after sending"):
                await app.send({"type": kind, "text": "too late"})
        assert await client.recv() == "first"
        assert await closed(client) == expected
        await client.wait_closed()
        with pytest.raises(OSError):  # noqa: PT011
            await app.send({"type": "websocket.send", "text": "much too late"})
        app.over.set()


@pytest.mark.parametrize(
    "event", [{"code": 1006}, {"code": 999}, {"code": 4000, "reason": "x" * 124}]
)
async def test_close_that_cannot_be_sent(event: Event) -> None:
    """The application gets the error, and the connection goes on."""
    app = App()
    async with tuned(app) as address, connect(f"ws://{address}/") as client:
        await app.accepted.wait()
        with pytest.raises(ProtocolError):
            await app.send({"type": "websocket.close", **event})
        for text in ("a", "b"):
            await client.send(text)
            assert await app.receive() == {"type": "websocket.receive", "text": text}
            await app.send({"type": "websocket.send", "text": text})
            assert await client.recv() == text
        app.over.set()


async def test_unexpected_events() -> None:
    """An event that does not fit is an error, and the connection goes on."""
    app = App()
    async with tuned(app) as address, connect(f"ws://{address}/") as client:
        await app.accepted.wait()
        for event in ({"type": "websocket.accept"}, {"type": "http.response.start"}):
            with pytest.raises(RuntimeError, match=r"Expected.*but got"):
                await app.send(event)
        with pytest.raises(UnicodeEncodeError):
            await app.send({"type": "websocket.send", "text": "\ud800"})
        await app.send({"type": "websocket.send", "bytes": bytearray(b"mutable")})
        assert await client.recv() == b"mutable"
        app.over.set()


async def test_client_closes() -> None:
    """What it sent before comes first; a send afterwards raises an OSError, a close nothing."""
    app = App()
    async with tuned(app) as address, connect(f"ws://{address}/") as client:
        await app.accepted.wait()
        await client.send("first")
        await client.close(4321, "bye")
        assert (await app.receive())["text"] == "first"
        told = await app.receive()
        assert told == {"type": "websocket.disconnect", "code": 4321, "reason": "bye"}
        with pytest.raises(OSError):  # noqa: PT011
            await app.send({"type": "websocket.send", "text": "too late"})
        app.over.set()


@pytest.mark.parametrize("reset", [False, True])
async def test_client_vanishes(reset: bool) -> None:
    """Without a close frame the code is 1006 (RFC 6455, 7.1.5); uvicorn's own says 1005."""
    app = App()
    async with tuned(app) as address:
        client = await connect(f"ws://{address}/")
        await app.accepted.wait()
        if reset:
            client.transport.abort()
        else:
            client.transport.close()
        async with asyncio.timeout(30):
            assert await app.receive() == {"type": "websocket.disconnect", "code": 1006}
        for kind in ("websocket.send", "websocket.close"):
            with pytest.raises(OSError):  # noqa: PT011
                await app.send({"type": kind, "text": "too late"})
        app.over.set()


async def test_client_that_does_not_answer_a_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is aborted, also if bytes for the client are still in a buffer; uvicorn's own
    waits for it to read them.
    """
    monkeypatch.setattr(shared, "CLOSE_TIMEOUT", 0.2)
    app = App()
    async with tuned(app) as address:
        reader, writer = await asyncio.open_connection(*address.split(":"), limit=1024)
        writer.write(request())
        await reader.readuntil(b"\r\n\r\n")
        await app.accepted.wait()
        writing = asyncio.create_task(fill(app.send))
        await eventually(lambda: bool(connections()[0]._blocked), "the sender to wait")
        await app.send({"type": "websocket.close"})
        async with asyncio.timeout(30):
            with pytest.raises(OSError):  # noqa: PT011
                await writing
        await eventually(lambda: not connections(), "the connection to be aborted")
        app.over.set()
        writer.close()


async def fill(send: Send) -> None:
    while True:
        await send({"type": "websocket.send", "bytes": bytes(65536)})


def request() -> bytes:
    return REQUEST.format(path="", more="").encode()


def connections() -> list[WebSocketProtocol]:
    """Those that are open; others have been freed, also without the garbage collector."""
    return [
        each
        for each in gc.get_objects()
        if issubclass(type(each), WebSocketProtocol) and each.phase is not Phase.LOST
    ]


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_shutdown_delivers_what_is_queued(loop: Any) -> None:
    """A stopping server sends what it has, then 1012, to a client that is sending itself."""
    sizes = [200_000, 1, 70_000]
    heard = []

    async def body(receive: Receive, send: Send) -> None:
        heard.append((await receive())["text"])
        for size in sizes:
            await send({"type": "websocket.send", "bytes": bytes(size)})
        while (event := await receive())["type"] != "websocket.disconnect":
            pass
        assert event["code"] == 1012

    def read() -> list[tuple[int, int]]:
        frames = []
        while (received := client.next_frame()) is not None:
            opcode, payload, _ = received
            frames.append((opcode, len(payload) if opcode == BINARY else int.from_bytes(payload)))
            if opcode == CLOSE:
                client.send(close_frame(1012))
        return frames

    with ExitStack() as clean, ThreadPoolExecutor() as threads:
        with serving_in_thread(accepting(body), loop=loop) as address:
            client = clean.enter_context(RawClient(address))
            client.send(frame(TEXT, b"go"))
            reading = threads.submit(read)
            client.send(frame(BINARY, bytes(50_000)))
            wait_until(lambda: heard == ["go"])
        assert reading.result() == [*((BINARY, size) for size in sizes), (CLOSE, 1012)]


async def test_shutdown_of_clients_that_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not hold up the server for longer than ``LINGER``, whatever they were doing."""
    monkeypatch.setattr(shared, "LINGER", 0.3)
    app = App()
    async with tuned(app, timeout_graceful_shutdown=None) as address:
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(request())
        await reader.readuntil(b"\r\n\r\n")
        await app.accepted.wait()
        app.over.set()
    writer.close()


def test_broken_rule_while_sending(echo_server: Any) -> None:
    """A client in the middle of a message that is too large learns so; the connection is not reset
    before it has the close frame. uvicorn's own closes with bytes unread, which resets it.
    """
    with RawClient(echo_server.address) as client:
        client.send(frame(BINARY, b"", length=50_000_000) + bytes(90_000))
        for _ in range(20):
            client.send(bytes(90_000))
        answer = client.answer()
    assert (answer.code, answer.reset) == (1009, False)


def test_messages_before_the_accept() -> None:
    """A client that does not wait for the answer loses nothing of what follows in later reads."""

    called, sent = threading.Event(), threading.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        called.set()
        await asyncio.to_thread(sent.wait, DEADLINE)
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})

    def hurry(client: socket.socket) -> None:
        assert called.wait(DEADLINE), "the application was not called"
        client.sendall(frame(TEXT, b"early") + frame(PING, b"p"))
        sent.set()

    with serving_in_thread(slow) as address, RawClient(address, hurry=hurry) as client:
        answer = client.answer(until=2)
        assert (answer.messages, answer.pongs) == (["early"], [b"p"])
        client.send(close_frame())
        assert client.answer().code == 1000


@pytest.mark.parametrize("protocol", [WebSocketProtocol, CompressedWebSocketProtocol])
async def test_nothing_is_left(protocol: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A connection is freed when it is over, without the garbage collector; no error is logged."""
    caplog.set_level(logging.WARNING)
    gc.collect()
    gc.disable()
    try:

        async def body(receive: Receive, send: Send) -> None:
            while (event := await receive())["type"] == "websocket.receive":
                await send({**event, "type": "websocket.send"})

        async with serving(accepting(body), ws=protocol) as address:
            for ending in ("close", "abort"):
                client = await connect(f"ws://{address}/")
                await client.send("x")
                assert await client.recv() == "x"
                (connection,) = connections()
                assert connection.parser is None
                assert connection.request is connection.scope is None
                assert not any(type(each) is OpeningRequest for each in gc.get_objects())
                del connection
                if ending == "close":
                    await client.close()
                else:
                    client.transport.abort()
                await eventually(
                    lambda: not any(type(each) is protocol for each in gc.get_objects()),
                    f"the connection to be freed after {ending}",
                )
    finally:
        gc.enable()
    assert not caplog.records
