"""The opening handshake: the same answers and the same scope as from uvicorn's own protocol."""

import asyncio
import itertools
import socket
import subprocess
import sys
from typing import Any

import pytest
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.utils import accept_key

from fast_channels.server import CompressedWebSocketProtocol, WebSocketProtocol
from fast_channels.server.request import parse
from fast_channels.type_defs import Receive, Scope, Send

from ..support.expect import eventually
from ..support.raw_websocket import RawClient, close_frame, serving_in_thread
from ..support.uvicorn_server import serving

BOTH = pytest.mark.parametrize("protocol", [WebSocketsSansIOProtocol, WebSocketProtocol])
HTTP = pytest.mark.parametrize("http", ["h11", "httptools"])


class App:
    """Keeps scopes and events, and answers as the path says."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.events: list[Any] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(dict(scope))
        self.events.append(await receive())
        match scope["path"]:
            case "/refuse":
                await send({"type": "websocket.close"})
            case "/fail":
                raise ZeroDivisionError
            case "/return":
                return
            case "/respond":
                headers = [(b"x-why", b"because")]
                start = {"type": "websocket.http.response.start", "status": 418}
                await send({**start, "headers": headers})
                body: dict[str, Any] = {"type": "websocket.http.response.body"}
                await send({**body, "body": b"short and ", "more_body": True})
                await send({**body, "body": b"stout"})
            case "/confused":
                await send({"type": "websocket.send", "text": "too early"})
            case _:
                offered = scope["subprotocols"]
                headers = [(b"X-Greeting", b"hello")]
                accept = {"type": "websocket.accept", "headers": headers}
                await send({**accept, "subprotocol": offered[-1] if offered else None})
        self.events.append(await receive())


@HTTP
@pytest.mark.parametrize(
    "path", ["", "room/1?a=b&c=%20", "caf%C3%A9/%2F?x", "%F0%9F%98%80", "a//b/../c", "?only=query"]
)
def test_scope(http: Any, path: str) -> None:
    """What the application gets to know is the same, header for header."""
    headers = (
        "Cookie: a=b; c=d\r\nX-Twice: 1\r\nX-Twice: 2\r\nX-Empty:\r\nX-Latin: \xe9\r\n"
        "Sec-WebSocket-Protocol: one, two\r\nSec-WebSocket-Protocol: three\r\n"
        "X-Spaces:   around  \r\nX-Colons: a: b:c\r\nAUTHORIZATION: Bearer x\r\n"
    ).encode("latin-1")
    seen = []
    for protocol in (WebSocketsSansIOProtocol, WebSocketProtocol):
        app = App()
        with (
            serving_in_thread(app, ws=protocol, http=http, root_path="/api") as address,
            RawClient(address, path, headers.decode("latin-1")) as client,
        ):
            assert client.status == 101
            client.send(close_frame())
            client.answer()
        scope = app.scopes[0]
        assert scope.pop("client")[0] == "127.0.0.1"
        assert scope.pop("server") == address
        seen.append(scope)
    assert seen[0] == seen[1]
    assert (b"x-twice", b"1") in seen[1]["headers"]


@pytest.mark.parametrize("protocol", [WebSocketProtocol, CompressedWebSocketProtocol])
@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: 0",
        "\r\n".join(f"X-{number}: \xe9" for number in range(110)),
        "\r\n".join(f"X-{number}: {'x' * 4000}" for number in range(3)),
        "Sec-WebSocket-Protocol: one, two\r\nSec-WebSocket-Extensions: permessage-deflate",
    ],
    ids=["no-body", "many-headers", "long-headers", "extension"],
)
def test_scope_of_a_request_that_is_not_plain(protocol: Any, lines: str) -> None:
    """The same too, whether the library has read the request or we have."""
    seen = []
    for each in (WebSocketsSansIOProtocol, protocol):
        app = App()
        with (
            serving_in_thread(app, ws=each, root_path="/api") as address,
            RawClient(address, "room?a=b", f"{lines}\r\n") as client,
        ):
            assert client.status == 101
            assert "x-greeting: hello" in client.head
            client.send(close_frame())
            client.answer()
        scope = app.scopes[0]
        assert scope.pop("client")[0] == "127.0.0.1"
        assert scope.pop("server") == address
        seen.append(scope)
    assert seen[0] == seen[1]


def test_no_websocket_protocol_of_uvicorn_is_loaded() -> None:
    """They are not documented; all that is not plain is left to the ``websockets`` library."""
    code = (
        "import sys, fast_channels.server\n"
        "print([name for name in sys.modules if 'uvicorn.protocols.websockets' in name])"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"[]\n"


@BOTH
def test_refusals(protocol: Any) -> None:
    """403, 500, and what the application responds itself."""
    app = App()
    with serving_in_thread(app, ws=protocol) as address:
        for path, status in (("refuse", 403), ("fail", 500), ("return", 500), ("confused", 500)):
            with RawClient(address, path) as client:
                assert client.status == status, path
                client.body()
        with RawClient(address, "respond") as client:
            assert client.status == 418
            assert "x-why: because" in client.head
            assert client.body() == b"short and stout"
    told = {"type": "websocket.disconnect", "code": 1006}
    assert app.events.count(told) == 2, "after the refusal and after the response"


@BOTH
@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ("Sec-WebSocket-Version: 12", 400),
        ("Sec-WebSocket-Key: short", 400),
        ("", 400),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: twice", 400),
    ],
)
def test_bad_requests(protocol: Any, lines: str, status: int) -> None:
    """An upgrade that is none is answered with why, and the connection closed."""
    head = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    with serving_in_thread(App(), ws=protocol) as address:
        answer = exchange(address, f"{head}{lines}\r\n\r\n".encode())
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "X-Long: " + "x" * 9000 + "\r\n\r\n",
        "".join(f"X-{number}: x\r\n" for number in range(200)) + "\r\n",
    ],
    ids=["body", "chunks", "long-header", "many-headers"],
)
def test_requests_that_are_not_for_us(lines: str) -> None:
    """They end in a response or a closed connection; uvicorn's own leaves some open for good."""
    head = (
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    app = App()
    with serving_in_thread(app) as address:
        answer = exchange(address, (head + lines).encode())
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert app.scopes == []


def exchange(address: tuple[str, int], request: bytes) -> bytes:
    """All that the server answers until it closes."""
    with socket.create_connection(address, timeout=5) as client:
        client.sendall(request)
        answer = b""
        try:
            while data := client.recv(65536):
                answer += data
        except ConnectionResetError:
            pass  # closed with the body unread
        return answer


@HTTP
async def test_accept(http: Any) -> None:
    """Subprotocol, headers of the application and of uvicorn; and nothing twice."""
    async with (
        serving(App(), ws=WebSocketProtocol, http=http, headers=[("x-from", "config")]) as address,
        connect(f"ws://{address}/", subprotocols=["v1", "v2"]) as client,  # type: ignore[list-item]
    ):
        assert client.subprotocol == "v2"
        assert client.response is not None
        headers = client.response.headers
        assert headers["x-greeting"] == "hello"
        assert headers["x-from"] == "config"
        assert len(headers.get_all("date")) == 1


async def test_client_leaves_before_the_accept() -> None:
    """The application is told, and a late accept raises an OSError."""
    outcome: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        outcome.append(await receive())
        outcome.append(await receive())
        try:
            await send({"type": "websocket.accept"})
        except OSError as error:
            outcome.append(error)

    async with serving(app, ws=WebSocketProtocol) as address:
        connecting = asyncio.ensure_future(connect(f"ws://{address}/").__aenter__())
        await eventually(lambda: len(outcome) == 1, "the application to be called")
        connecting.cancel()
        await asyncio.wait([connecting])
        async with asyncio.timeout(30):
            while len(outcome) < 3:
                await asyncio.sleep(0.01)
    assert outcome[1] == {"type": "websocket.disconnect", "code": 1006}
    assert isinstance(outcome[2], OSError)


@BOTH
async def test_shutdown_before_the_accept(protocol: Any) -> None:
    """The client gets a 500, the application a disconnect."""
    events: list[Any] = []
    connected = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        connected.set()
        events.append(await receive())

    async with serving(app, ws=protocol) as address:
        connecting = asyncio.ensure_future(connect(f"ws://{address}/").__aenter__())
        await connected.wait()
    with pytest.raises(InvalidStatus) as caught:
        await connecting
    assert caught.value.response.status_code == 500
    assert [event["type"] for event in events] == ["websocket.disconnect"]


async def test_an_accept_after_the_shutdown() -> None:
    """The application learns that its client has gone, by an OSError."""
    asked = asyncio.Event()
    outcome: list[Exception] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        asked.set()
        await receive()
        try:
            await send({"type": "websocket.accept"})
        except OSError as error:
            outcome.append(error)

    async with serving(app, ws=WebSocketProtocol) as address:
        connecting = asyncio.ensure_future(connect(f"ws://{address}/").__aenter__())
        await asked.wait()
    with pytest.raises(InvalidStatus) as caught:
        await connecting
    assert caught.value.response.status_code == 500
    await eventually(lambda: len(outcome) == 1, "the error")


async def test_a_receive_that_waits_during_the_accept() -> None:
    """One task accepts while another already receives, as a consumer does."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        waiting = asyncio.create_task(receive())  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": (await waiting)["text"]})

    async with serving(app, ws=WebSocketProtocol) as address, connect(f"ws://{address}/") as client:
        await client.send("hello")
        assert await client.recv() == "hello"


SMUGGLING = [
    (b"x-name", b"line\r\nset-cookie: stolen=1"),
    (b"x-name", b"line\nx: y"),
    (b"x-name\r\nset-cookie", b"stolen=1"),
    (b"x-name", b"nul\0"),
]


@pytest.mark.parametrize("protocol", [WebSocketProtocol, CompressedWebSocketProtocol])
@pytest.mark.parametrize("kind", ["accept", "http.response.start"])
@pytest.mark.parametrize("header", SMUGGLING)
def test_a_header_cannot_smuggle_another(
    protocol: Any, kind: str, header: tuple[bytes, bytes]
) -> None:
    """An application may have put a client's text into its accept, or into its refusal."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": f"websocket.{kind}", "status": 403, "headers": [header]})
        await send({"type": "websocket.http.response.body", "body": b""})

    offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
    with serving_in_thread(app, ws=protocol) as address, RawClient(address, "", offer) as client:
        assert client.status == 500
        assert "stolen" not in client.head


# Plain requests

PLAIN = {
    "first": b"GET /room?a=b HTTP/1.1",
    "host": b"host: x",
    "upgrade": b"upgrade: websocket",
    "connection": b"connection: Upgrade",
    "key": b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    "version": b"sec-websocket-version: 13",
}
OTHERS = {
    "first": [
        b"POST / HTTP/1.1",
        b"GET / HTTP/1.0",
        b"GET  / HTTP/1.1",
        b"GET /\xe9 HTTP/1.1",
        b"GET /" + b"x" * 9000 + b" HTTP/1.1",
    ],
    "host": [b"", b"no colon", b"host: a\r\nhost: b", b"x: a\x01b", b"x: a\nb", b"x\xe9: a"],
    "upgrade": [
        b"upgrade: WebSocket",
        b"upgrade: websocket, h2c",
        b"upgrade: h2c",
        b"upgrade:",
        b"upgrade: websocket\r\nupgrade: websocket",
    ],
    "connection": [
        b"connection: keep-alive, Upgrade",
        b"connection: keep-alive\r\nconnection: upgrade",
        b"connection: close",
        b"connection: upgraded",
        b"",
    ],
    "key": [
        b"sec-websocket-key: short",
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=",
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ== ",
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZSBhbmQgbW9yZQ==",
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        b"sec-websocket-key: dGhl!HNhbXBsZSBub25jZQ==",
        b"",
    ],
    "version": [
        b"sec-websocket-version: 12",
        b"sec-websocket-version: 13, 8",
        b"sec-websocket-version: 13\r\nsec-websocket-version: 13",
        b"",
    ],
    "more": [
        b"origin: https://a.example",
        b"origin: https://a.example\r\norigin: https://b.example",
        b"sec-websocket-protocol: one, two\r\nsec-websocket-protocol: three",
        b"sec-websocket-protocol: one two",
        b"sec-websocket-protocol: ,",
        b"sec-websocket-protocol:",
        b"sec-websocket-extensions: permessage-deflate; client_max_window_bits",
        b"sec-websocket-extensions: ;;",
        b"content-length: 5",
        b"transfer-encoding: chunked",
        b"x-latin: \xe9",
    ],
}


def request_of(lines: dict[str, bytes]) -> bytes:
    return b"\r\n".join([line for line in lines.values() if line] + [b"", b""])


def test_plain_requests_are_those_that_the_library_accepts() -> None:
    """Any two things that are odd: what counts as plain here, ``websockets`` accepts as well."""
    oddities = [(name, other) for name, others in OTHERS.items() for other in others]
    plain = 0
    for one, other in itertools.product(oddities, repeat=2):
        data = request_of(PLAIN | dict([one, other]))
        request = parse(data)
        if request is None:
            continue
        plain += 1
        library = ServerProtocol()
        library.receive_data(data)
        event = next(iter(library.events_received()), None)
        assert isinstance(event, Request), data
        response = library.accept(event)
        assert response.status_code == 101, data
        assert response.headers["sec-websocket-accept"] == accept_key(request.key)
        offered = ", ".join(event.headers.get_all("sec-websocket-protocol"))
        assert request.subprotocols == [one.strip() for one in offered.split(",") if one]
        assert [name.decode() for name, _ in request.headers] == [
            name for name, _ in event.headers.raw_items()
        ]
    assert plain > 50


def test_a_request_as_browsers_send_it_is_plain() -> None:
    """With an offer of compression, which ``WebSocketProtocol`` never takes up."""
    connection = {"connection": b"connection: keep-alive, Upgrade"}
    extension = {"more": b"sec-websocket-extensions: permessage-deflate; client_max_window_bits"}
    data = request_of(PLAIN | connection | extension)
    request = parse(data)
    assert request is not None
    assert request.target == "/room?a=b"
    assert parse(data, takes_extensions=True) is None
