"""The wire: callbacks of uvloop that shake hands and pass frames on, and nothing else.

No HTTP parser, no ASGI, no tasks, no limits, no checks: what the kernel, the event loop and the
frames take by themselves on this machine. Rooms live in the process.
"""

import asyncio
import base64
import hashlib
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import cast

import uvloop

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
RESPONSE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n\r\n"
)
CLOSE = b"\x88\x02\x03\xe8"
CLOSING = 0x8
HEAD = 6  # bytes of a masked frame before a short payload

rooms: defaultdict[bytes, set["Wire"]] = defaultdict(set)
dirty: list["Wire"] = []


class Wire(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self) -> None:
        self.open = False
        self.room: set[Wire] | None = None
        self.outbox: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self.open:
            self.shake_hands(data)
            return
        for frame in answers(data):
            if frame is CLOSE:
                self.transport.write(CLOSE)
                self.transport.close()
            elif self.room is None:
                self.queue(frame)
            else:
                for member in self.room:
                    member.queue(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.room is not None:
            self.room.discard(self)

    def shake_hands(self, request: bytes) -> None:
        key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
        path = request.split(b" ", 2)[1]
        self.open = True
        self.queue(RESPONSE % accept)
        if path != b"/echo":
            self.room = rooms[path]
            self.room.add(self)
            self.queue(b'\x81\x08"joined"')

    def queue(self, frame: bytes) -> None:
        """What goes to one socket in one loop turn leaves in one write."""
        if not self.outbox:
            if not dirty:
                asyncio.get_running_loop().call_soon(flush)
            dirty.append(self)
        self.outbox.append(frame)


def flush() -> None:
    for wire in dirty:
        wire.transport.write(b"".join(wire.outbox))
        wire.outbox.clear()
    dirty.clear()


def answers(data: bytes) -> Iterator[bytes]:
    """The frames in ``data`` as a server sends them; they are whole and short."""
    start = 0
    while start < len(data):
        length = data[start + 1] & 0x7F
        end = start + HEAD + length
        if data[start] & 0x0F == CLOSING:
            yield CLOSE
        else:
            mask = data[start + 2 : start + HEAD] * (length // 4 + 1)
            masked = int.from_bytes(data[start + HEAD : end], "big")
            payload = masked ^ int.from_bytes(mask[:length], "big")
            yield bytes((data[start], length)) + payload.to_bytes(length, "big")
        start = end


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Wire, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
