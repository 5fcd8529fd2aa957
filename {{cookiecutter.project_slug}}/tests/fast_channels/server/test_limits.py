"""Limits: of a message, of a request, of the number of connections; and what the client is told."""

import asyncio
import gc
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.server import WebSocketProtocol, http_protocol, shared
from fast_channels.server.connection import MIN_FRAGMENTS
from fast_channels.server.http_protocol import MAX_PENDING, HttpProtocol
from fast_channels.type_defs import Receive, Scope, Send

from ..support.asgi_apps import echo_and_length
from ..support.raw_websocket import (
    DEADLINE,
    REQUEST,
    TEXT,
    Echo,
    RawClient,
    close_frame,
    frame,
    serving_in_thread,
    wait_until,
)

Address = tuple[str, int]


@contextmanager
def limited(app: Any = echo_and_length, **options: Any) -> Iterator[Address]:
    with serving_in_thread(app, http=HttpProtocol, **options) as address:
        yield address


def ask(address: Address, request: bytes, *, then: bytes = b"") -> bytes:
    """What a client gets until the server closes; ``then`` is sent when the first of it is there."""
    with socket.create_connection(address, DEADLINE) as client:
        client.sendall(request)
        parts = [client.recv(65536)]
        if then:
            client.sendall(then)
        while parts[-1]:
            parts.append(client.recv(65536))
    return b"".join(parts)


# WebSocket messages


def test_a_message_has_64_kib() -> None:
    """Unless uvicorn is told otherwise; its own default is 16 MiB."""
    with limited() as address:
        with RawClient(address) as client:
            client.send(frame(TEXT, b"a" * 65536))
            assert client.answer(until=1).messages == ["a" * 65536]
        with RawClient(address) as client:
            client.send(frame(TEXT, b"a" * 65537))
            assert client.answer().code == 1009


def test_ws_max_size_is_what_was_given() -> None:
    """Here more than the default of the protocol."""
    with limited(ws_max_size=100_000) as address, RawClient(address) as client:
        client.send(frame(TEXT, b"a" * 100_000))
        assert len(client.answer(until=1).messages[0]) == 100_000


def test_fragments_are_counted() -> None:
    """A message may have one for each 16 bytes of the limit, and always 1,024."""
    with limited(ws_max_size=1000) as address:
        with RawClient(address) as client:
            empty = frame(0, b"", fin=False) * (MIN_FRAGMENTS - 2)
            client.send(frame(TEXT, b"a", fin=False) + empty + frame(0, b"b"))
            assert client.answer(until=1).messages == ["ab"]
        with RawClient(address) as client:
            client.send(frame(TEXT, b"a", fin=False) + empty + frame(0, b"b", fin=False))
            assert client.answer().code == 1008


# A close frame behind messages


def test_what_came_before_a_close_frame_is_answered() -> None:
    """Also when all of it comes in one piece; then the close frame is answered."""
    app = Echo()
    with limited(app) as address, RawClient(address, "all") as client:
        client.send(frame(TEXT, b"a") + frame(TEXT, b"b") + close_frame(4002, "bye"))
        answer = client.answer()
        assert answer.messages == ["a", "b"]
        assert answer.code == 4002
        *_, last = app.finally_received("/all")
        assert last == {"type": "websocket.disconnect", "code": 4002, "reason": "bye"}


class Talker(AsyncWebsocketConsumer):
    """Says what it hears to its group, of which it is a member."""

    groups = ("room",)
    handlers = frozenset({"said"})

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.channel_layer.group_send("room", {"type": "said", "text": text_data})

    async def said(self, message: dict[str, Any]) -> None:
        await self.send(message["text"])


@pytest.mark.usefixtures("memory_layer")
def test_a_consumer_answers_what_came_before_a_close_frame() -> None:
    """Although it reads ahead of its handlers."""
    with limited(Talker.as_asgi()) as address, RawClient(address) as client:
        client.send(frame(TEXT, b"a") + frame(TEXT, b"b") + close_frame(4002))
        answer = client.answer()
        assert (answer.messages, answer.code) == (["a", "b"], 4002)


@pytest.mark.parametrize("end", ["wait", "return", "close", "leave"])
def test_a_close_frame_is_answered_in_time(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """By an application that does not receive, one that returns, one that closes; or never."""
    monkeypatch.setattr(shared, "PATIENCE", 0.1)
    told = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.sleep(0.5 if end in ("wait", "leave") else 0.05)
        if end == "close":
            await send({"type": "websocket.close", "code": 4000})
        if end != "return":
            await receive()
            told.append(await receive())

    with limited(app) as address:
        with RawClient(address) as client:
            client.send(frame(TEXT, b"a") + close_frame(4002))
            if end != "leave":
                assert client.answer().code == 4002
        if end != "return":
            wait_until(lambda: bool(told), "the application")
            assert told[0]["code"] == 4002


# HTTP


def test_a_request_of_ordinary_size() -> None:
    """Headers and a body below the limits, twice on one connection."""
    one = b"POST / HTTP/1.1\r\nHost: a\r\nX: %b\r\nContent-Length: 60000\r\n\r\n%b"
    one %= (b"x" * 8000, bytes(60_000))
    with limited() as address, socket.create_connection(address, DEADLINE) as client:
        for _ in range(2):
            client.sendall(one)
            answer = b""
            while not answer.endswith(b"0\r\n\r\n"):
                answer += client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"\r\n60000\r\n" in answer


def test_headers_that_are_too_long() -> None:
    """431, in one sentence."""
    with limited() as address:
        answer = ask(address, b"GET / HTTP/1.1\r\nX: " + b"a" * (MAX_PENDING + 1))
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert answer.endswith(b"The request's headers are longer than 65536 bytes.")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"", b""),
        (b"GET / HT", b"HTTP/1.1 408 "),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"HTTP/1.1 408 "),
        (REQUEST.format(path="", more="").encode()[:-2], b"HTTP/1.1 408 "),
    ],
    ids=["nothing", "line", "headers", "upgrade"],
)
def test_an_unfinished_head(
    monkeypatch: pytest.MonkeyPatch, request_: bytes, status: bytes
) -> None:
    """408, or no word to a client that has said none."""
    monkeypatch.setattr(http_protocol, "REQUEST_TIMEOUT", 0.2)
    with limited() as address:
        began = time.monotonic()
        answer = ask(address, request_)
        assert answer[: len(status) or None] == status
        assert time.monotonic() - began >= 0.2


def test_a_body_that_nobody_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a 413 the rest of the body may come, and has to in time."""
    monkeypatch.setattr(http_protocol, "REQUEST_TIMEOUT", 0.2)
    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
    with limited() as address:
        assert ask(address, request, then=b"a").startswith(b"HTTP/1.1 413 ")


def test_a_response_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for a request is over when the request is there."""
    monkeypatch.setattr(http_protocol, "REQUEST_TIMEOUT", 0.1)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.4)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"late"})

    with limited(app) as address:
        answer = ask(address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b"late" in answer


@pytest.fixture
def ended() -> list[str]:
    """The paths of the responses that have ended."""
    return []


@pytest.fixture(params=["asyncio", "uvloop"])
def downloads(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, ended: list[str]
) -> Iterator[Callable[[str], socket.socket]]:
    """Clients that ask for 64 MiB, more than a kernel keeps for them, and have a second to take some."""
    monkeypatch.setattr(http_protocol, "WRITE_TIMEOUT", 1.0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1024):
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        ended.append(scope["path"])

    with limited(app, loop=request.param) as address, ExitStack() as clients:

        def download(path: str) -> socket.socket:
            client = clients.enter_context(socket.create_connection(address, DEADLINE))
            client.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode())
            return client

        yield download


def test_a_client_that_reads_nothing(
    downloads: Callable[[str], socket.socket], ended: list[str]
) -> None:
    """It is cut off after its time, and the application goes on."""
    downloads("/silent")
    wait_until(lambda: ended == ["/silent"], "the end")


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere kernels keep what is read to themselves"
)
def test_a_client_that_reads_slowly(
    downloads: Callable[[str], socket.socket], ended: list[str]
) -> None:
    """It takes as long as it likes, also while the kernel takes nothing more for it: some 300 KB a second."""
    client = downloads("/slow")
    began = time.monotonic()
    while time.monotonic() - began < 2.5:
        assert client.recv(16384)
        time.sleep(0.05)
    assert ended == []


def test_sockets_leave_room_for_requests() -> None:
    """Of 20 connections 18 may be sockets; the next is refused, a health check is answered."""
    with limited(limit_concurrency=20) as address, ExitStack() as clients:
        for _ in range(17):
            clients.enter_context(RawClient(address))
        with RawClient(address) as last, RawClient(address) as refused:
            assert last.status == 101
            assert refused.status == 503
            assert refused.body() == b"Too many connections."
            request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            assert ask(address, request).startswith(b"HTTP/1.1 200 ")
        wait_until(lambda: _is_accepted(address), "room for a socket")


def _is_accepted(address: Address) -> bool:
    with RawClient(address) as client:
        return client.status == 101


# Requests for a socket that are refused


@pytest.mark.parametrize("http", ["httptools", "h11", HttpProtocol])
@pytest.mark.parametrize(
    ("more", "status"),
    [
        ("Content-Length: 3\r\n", 400),
        ("Transfer-Encoding: chunked\r\n", 400),
        ("X: " + "a" * 9000 + "\r\n", 431),
        ("".join(f"X-{n}: a\r\n" for n in range(200)), 431),
    ],
    ids=["body", "chunked", "long-header", "many-headers"],
)
def test_a_request_that_may_not_become_a_socket(http: Any, more: str, status: int) -> None:
    """It has a body, or more headers than the library takes: it is told so."""
    server = serving_in_thread(echo_and_length, http=http)
    with server as address, RawClient(address, headers=more) as client:
        assert client.status == status
        assert client.body()


Ending = Callable[[], None]


def _returns() -> None: ...


def _raises() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("end", [_returns, _raises])
@pytest.mark.parametrize("pieces", [0, 1])
def test_a_denial_response_that_breaks_off(end: Ending, pieces: int) -> None:
    """The client gets a 500, as from a request: nothing of the response has been sent."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
        for _ in range(pieces):
            await send({"type": "websocket.http.response.body", "body": b"a", "more_body": True})
        end()

    with serving_in_thread(app, ws=WebSocketProtocol) as address, RawClient(address) as client:
        assert client.status == 500
        assert client.body() == b"Internal Server Error"


@pytest.mark.parametrize("more", ["Content-Length: 3\r\n", ""])
def test_a_refused_handshake_leaves_nothing(more: str) -> None:
    """Freed without the garbage collector: with a body, not answered by the application, one too many."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None: ...

    gc.collect()
    before = sum(type(each) is WebSocketProtocol for each in gc.get_objects())
    gc.disable()
    try:
        for limit in (None, 1):
            server = limited(app, limit_concurrency=limit)
            with server as address, RawClient(address, headers=more) as client:
                assert client.status >= 400
                client.body()
        assert sum(type(each) is WebSocketProtocol for each in gc.get_objects()) == before
    finally:
        gc.enable()
