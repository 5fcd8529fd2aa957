"""One WebSocket client: its handshake, its frames, its end.

Invariant: ``joined`` is set by the first message where the server sends one to say so (rooms, and
Socket.IO), else by the end of the handshake; only later messages reach ``on_message``.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from .dialects import Plain
from .frames import BINARY, CLOSE, CLOSE_NORMALLY, PING, PONG, TEXT, Decoder, encode

HANDSHAKE = (
    "GET {url} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class HandshakeError(Exception):
    """The server answered with something else than 101."""


class Socket(asyncio.Protocol):
    __slots__ = (
        "closed", "decoder", "dialect", "greeted", "joined", "on_message", "rest", "room", "transport",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, dialect: Plain, room: str | None, greeted: bool) -> None:
        loop = asyncio.get_running_loop()
        self.dialect = dialect
        self.room = room
        self.greeted = greeted
        self.decoder: Decoder | None = None
        self.rest = b""
        self.joined: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.on_message: Callable[[bytes], None] = self.unexpected

    # Events

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(HANDSHAKE.format(url=self.dialect.url(self.room)).encode())

    def data_received(self, data: bytes) -> None:
        if self.decoder is None:
            data = self.shake_hands(data)
            if self.decoder is None:
                return
        for opcode, payload in self.decoder.feed(data):
            if opcode in (TEXT, BINARY):
                self.receive(payload)
            elif opcode == PING:
                self.transport.write(encode(payload, PONG))
            elif opcode == CLOSE:
                self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set_result(None)
        if not self.joined.done():
            self.joined.set_exception(ConnectionResetError("closed by the server before it joined"))

    # Steps

    def shake_hands(self, data: bytes) -> bytes:
        head, end, rest = (self.rest + data).partition(b"\r\n\r\n")
        if not end:
            self.rest = head
            return b""
        if not head.startswith(b"HTTP/1.1 101"):
            self.joined.set_exception(HandshakeError(head[:200].decode("latin-1")))
            self.transport.close()
            return b""
        self.decoder, self.rest = Decoder(), b""
        if not self.greeted:
            self.joined.set_result(None)
        return rest

    def receive(self, text: bytes) -> None:
        answer = self.dialect.answer(text)
        if answer is not None:
            if answer:
                self.transport.write(encode(answer))
        elif not self.joined.done():
            self.joined.set_result(None)
        else:
            self.on_message(text)

    def unexpected(self, text: bytes) -> None:
        raise RuntimeError(f"nobody asked for {text!r:.100}")

    # To call

    def send(self, frame: bytes) -> None:
        """An encoded frame; nothing waits for the server to read, as windows bound what is sent."""
        self.transport.write(frame)

    async def close(self) -> None:
        """The closing handshake, until the server has closed the connection."""
        self.transport.write(CLOSE_NORMALLY)
        await self.closed
