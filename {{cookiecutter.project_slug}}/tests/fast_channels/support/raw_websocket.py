"""A WebSocket client that sends whatever bytes it is told to, and a server in a thread for it."""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from fast_channels.server import WebSocketProtocol
from fast_channels.type_defs import Event, Receive, Scope, Send

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
DEADLINE = 30.0  # seconds; only a failing test waits so long
MASK = b"\x37\xfa\x21\x3d"

REQUEST = (
    "GET /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
)


class Echo:
    """Sends each message back, and keeps what each path has received; safe to read from a thread."""

    def __init__(self) -> None:
        self.received: defaultdict[str, list[Event]] = defaultdict(list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        events = self.received[scope["path"]]
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            event = await receive()
            events.append(event)
            if event["type"] == "websocket.disconnect":
                return
            with contextlib.suppress(OSError):  # the client may be gone already
                await send({**event, "type": "websocket.send"})

    def finally_received(self, path: str) -> list[Event]:
        """All events of a path, once the last of them is there."""
        events = self.received[path]
        wait_until(lambda: bool(events) and events[-1]["type"] == "websocket.disconnect")
        return events


def wait_until(
    condition: Callable[[], bool], what: str = "the server", within: float = DEADLINE
) -> None:
    """Poll, for what happens in another thread."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"waited {within} s for {what}"
        time.sleep(0.002)


@contextmanager
def serving_in_thread(
    app: Any, *, ws: Any = WebSocketProtocol, **options: Any
) -> Iterator[tuple[str, int]]:
    """Serve `app` with a loop of its own; gives the address. ``options`` are uvicorn's."""
    options.setdefault("timeout_graceful_shutdown", 5)
    config = uvicorn.Config(app, ws=ws, lifespan="off", log_config=None, **options)
    server = uvicorn.Server(config)
    started = threading.Event()
    startup = server.startup

    async def start(sockets: list[socket.socket] | None = None) -> None:
        await startup(sockets)
        started.set()

    server.startup = start  # type: ignore[method-assign]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            assert started.wait(DEADLINE), "uvicorn did not start"
            yield listening.getsockname()
        finally:
            server.should_exit = True
            thread.join(DEADLINE)
            assert not thread.is_alive(), "uvicorn did not stop"


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    length: int | None = None,
) -> bytes:
    """A frame of a client; ``rsv`` are the three reserved bits, ``length`` a lie about it."""
    count = len(payload) if length is None else length
    masked = 0 if mask is None else 0x80
    head = bytes((fin << 7 | rsv << 4 | opcode,))
    if count <= 125:
        head += bytes((masked | count,))
    elif count <= 0xFFFF:
        head += struct.pack("!BH", masked | 126, count)
    else:
        head += struct.pack("!BQ", masked | 127, count)
    if mask is None:
        return head + payload
    return head + mask + apply_mask(payload, mask)


def apply_mask(payload: bytes, mask: bytes) -> bytes:
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(len(payload))


def close_frame(code: int = 1000, reason: str = "") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


@dataclass
class Answer:
    """All that a server sent until it closed: messages, pongs, and the payload of its close frame."""

    messages: list[str | bytes] = field(default_factory=list)
    pings: list[bytes] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    close: bytes | None = None
    reset: bool = False

    def add(self, opcode: int, payload: bytes, fin: bool) -> None:
        assert fin, "this server does not fragment"
        assert self.close is None, "a frame after the close frame"
        if opcode == TEXT:
            self.messages.append(payload.decode())
        elif opcode == BINARY:
            self.messages.append(payload)
        elif opcode == CLOSE:
            self.close = payload
        elif opcode == PING:
            self.pings.append(payload)
        elif opcode == PONG:
            self.pongs.append(payload)
        else:
            raise AssertionError(f"opcode {opcode:#x}")

    @property
    def code(self) -> int | None:
        """Of the close frame; 1005 if it has none, None if there was no close frame."""
        if self.close is None:
            return None
        return int.from_bytes(self.close[:2]) if self.close else 1005


class RawClient:
    """A connection that has been upgraded."""

    head = ""

    def __init__(
        self,
        address: tuple[str, int],
        path: str = "",
        headers: str = "",
        *,
        tls: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
        hurry: Callable[[socket.socket], None] | None = None,
    ) -> None:
        """``receive_buffer`` is the kernel's, in bytes; ``hurry`` may send before the answer comes, but
        not before the application was called: uvicorn's HTTP side drops what comes with the request.
        """
        plain = socket.socket()
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.settimeout(DEADLINE)
        plain.connect(address)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = tls.wrap_socket(plain, server_hostname="localhost") if tls else plain
        self.buffer = b""
        self.socket.sendall(REQUEST.format(path=path, more=headers).encode())
        if hurry:
            hurry(self.socket)
        self.read_head()

    def read_head(self) -> None:
        while b"\r\n\r\n" not in self.buffer:
            data = self.socket.recv(65536)
            assert data, f"closed after {self.buffer!r}"
            self.buffer += data
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        self.head = head.decode("latin-1")

    @property
    def status(self) -> int:
        return int(self.head.split(" ")[1])

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_chopped(self, data: bytes) -> None:
        """Byte by byte, but for the inside of what is long."""
        cuts = range(len(data)) if len(data) < 512 else [*range(160), *range(160, len(data), 997)]
        for begin, end in zip(cuts, [*cuts[1:], len(data)], strict=True):
            try:
                self.socket.sendall(data[begin:end])
            except OSError:
                return  # the server has closed before it had all; its answer says why

    def next_frame(self) -> tuple[int, bytes, bool] | None:
        """Opcode (with RSV1 as 0x40), payload and FIN of the next frame; None at the end."""
        head = self._exactly(2)
        if head is None:
            return None
        assert head[1] < 0x80, "a server does not mask"
        length = head[1]
        if length >= 126:
            length = int.from_bytes(self._exactly(2 if length == 126 else 8) or b"")
        payload = self._exactly(length)
        assert payload is not None, "closed within a frame"
        return head[0] & 0x4F, payload, bool(head[0] & 0x80)

    def _exactly(self, count: int) -> bytes | None:
        parts, missing = [self.buffer], count - len(self.buffer)
        while missing > 0:
            data = self.socket.recv(min(missing + 65536, 1 << 20))
            if not data:
                return None
            parts.append(data)
            missing -= len(data)
        data = b"".join(parts)
        self.buffer = data[count:]
        return data[:count]

    def answer(self, answer: Answer | None = None, *, until: int | None = None) -> Answer:
        """Read until the server closes, or until so many messages and pongs are there."""
        answer = answer or Answer()
        try:
            while until is None or len(answer.messages) + len(answer.pongs) < until:
                received = self.next_frame()
                if received is None:
                    break
                answer.add(*received)
        except ConnectionResetError:
            answer.reset = True
        return answer

    def body(self) -> bytes:
        """What follows the head until the server closes, if it has not upgraded."""
        while data := self.socket.recv(65536):
            self.buffer += data
        return self.buffer

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
