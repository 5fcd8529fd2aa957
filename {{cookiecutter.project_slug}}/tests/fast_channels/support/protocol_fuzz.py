"""Random WebSocket traffic, and two parties that read it: ours, and the library's."""

import asyncio
import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any, cast

import uvicorn
from uvicorn.server import ServerState
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from fast_channels.server.connection import WebSocketProtocol

from .raw_websocket import BINARY, CLOSE, PING, PONG, TEXT, Answer, frame

Outcome = tuple[list[str | bytes], list[bytes], bytes | None]  # messages, pongs, the close payload


def deflate_extension() -> PerMessageDeflate:
    return PerMessageDeflate(True, True, 12, 12)


# Traffic


def conversation(source: random.Random, max_size: int, compressed: bool) -> tuple[bytes, int]:
    """The bytes of one connection, and how many frames they are."""
    frames = []
    for _ in range(source.choice((3, 10, 40))):
        frames += message(source, max_size, compressed)
    if source.random() < 0.7:
        frames.append(closing(source))
        frames += message(source, max_size, compressed)
    data = bytearray(b"".join(frames))
    if source.random() < 0.5:
        damage(source, data)
    return bytes(data), len(frames)


def message(source: random.Random, max_size: int, compressed: bool) -> list[bytes]:
    kind = source.random()
    if kind < 0.2:
        size = source.choice((0, 1, 4, 125, 125, 126))
        return [frame(source.choice((PING, PONG)), source.randbytes(size), mask=mask(source))]
    opcode = source.choice((TEXT, BINARY))
    payload, rsv = content(source, opcode, max_size), 0
    if source.random() < (0.5 if compressed else 0.01):
        encoder = zlib.compressobj(wbits=-12)
        payload = (encoder.compress(payload) + encoder.flush(zlib.Z_SYNC_FLUSH))[:-4]
        rsv = 4
    if kind < 0.7:
        return [frame(opcode, payload, rsv=rsv, mask=mask(source))]
    return list(fragments(source, opcode, payload, rsv))


def content(source: random.Random, opcode: int, max_size: int) -> bytes:
    size = source.choice((0, 1, 7, 125, 126, 127, 300, max_size // 4, max_size, max_size + 1))
    if source.random() < 0.9:
        size = min(size, 300)
    if opcode == BINARY:
        return source.randbytes(size)
    text = "".join(source.choices("aé€😀", k=size))
    return text.encode() if source.random() < 0.98 else text.encode()[:-1]


def fragments(source: random.Random, opcode: int, payload: bytes, rsv: int) -> Iterator[bytes]:
    cuts = sorted(source.randint(0, len(payload)) for _ in range(source.randint(1, 4)))
    for begin, end in zip([0, *cuts], [*cuts, len(payload)], strict=True):
        yield frame(opcode, payload[begin:end], fin=False, rsv=rsv, mask=mask(source))
        opcode, rsv = 0, 0
        if source.random() < 0.3:
            yield frame(source.choice((PING, PONG)), source.randbytes(3), mask=mask(source))
    if source.random() < 0.97:
        yield frame(0, mask=mask(source))


def closing(source: random.Random) -> bytes:
    code = source.choice((1000, 1001, 1005, 1006, 1015, 999, 3000, 4999, 5000))
    payload = struct.pack("!H", code) + source.choice(
        (b"", b"bye", "é".encode(), b"\xff", b"x" * 123)
    )
    return frame(CLOSE, source.choice((payload, b"", payload[:1])), mask=mask(source))


def mask(source: random.Random) -> bytes:
    return bytes(4) if source.random() < 0.1 else source.randbytes(4)


def damage(source: random.Random, data: bytearray) -> None:
    """Change, drop or repeat a few bytes."""
    for _ in range(source.randint(1, 3)):
        position = source.randrange(len(data)) if data else 0
        match source.randrange(4):
            case 0:
                data[position : position + 1] = source.randbytes(1)
            case 1:
                if data:
                    data[position] ^= 1 << source.randrange(8)
            case 2:
                del data[position : position + source.randint(1, 8)]
            case _:
                data[position:position] = data[position : position + source.randint(1, 30)]


def pieces(source: random.Random, data: bytes) -> Iterator[bytes]:
    """The same bytes as they may come out of a socket."""
    largest = source.choice((1, 2, 8, 100, 5000, len(data) + 1))
    position = 0
    while position < len(data):
        end = position + source.randint(1, largest)
        yield data[position:end]
        position = end


# Readers


class Reader:
    """What has come of the bytes so far."""

    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.sent = b""

    def outcome(self) -> Outcome:
        """Reads what was sent: pongs, and a close frame at the end or none."""
        answer, rest = Answer(), self.sent
        while rest:
            length = rest[1]  # control frames are short
            answer.add(rest[0] & 0x0F, rest[2 : 2 + length], True)
            rest = rest[2 + length :]
        return self.messages, answer.pongs, answer.close


class _Lenient(ServerProtocol):
    """Takes a close frame between two fragments (RFC 6455, 5.4), which the library calls an error."""

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE and self.state is OPEN:
            self.current_size = None
        super().recv_frame(frame)


class Oracle(Reader):
    """``ServerProtocol``; the bytes of a message that is no text are invalid as uvicorn has it."""

    def __init__(self, max_size: int, compressed: bool) -> None:
        super().__init__()
        self.protocol = _Lenient(state=OPEN, max_size=max_size)
        if compressed:
            self.protocol.extensions = [deflate_extension()]
        self.parts: list[bytes] = []
        self.is_text = False
        self.failed = False

    def feed(self, data: bytes) -> None:
        # A byte at a time, so that it stops where the text of a message is invalid.
        for position in range(len(data)):
            self.protocol.receive_data(data[position : position + 1])
            for event in self.protocol.events_received():
                self.take(cast(Frame, event))
            self.sent += b"".join(self.protocol.data_to_send())
            if self.failed:
                return

    def take(self, event: Frame) -> None:
        if event.opcode in (Opcode.TEXT, Opcode.BINARY):
            self.parts, self.is_text = [], event.opcode is Opcode.TEXT
        elif event.opcode is not Opcode.CONT:
            return
        self.parts.append(bytes(event.data))
        if not event.fin:
            return
        whole = b"".join(self.parts)
        try:
            self.messages.append(whole.decode() if self.is_text else whole)
        except UnicodeDecodeError as error:
            self.protocol.fail(1007, f"{error.reason} at position {error.start}")
            self.failed = True


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...

    def abort(self) -> None:
        self.closing = True


class Subject(Reader):
    """A connection that has been opened."""

    def __init__(self, max_size: int, compressed: bool) -> None:
        super().__init__()
        config = uvicorn.Config(cast(Any, None), ws_max_size=max_size, ws_ping_interval=None)
        self.connection = WebSocketProtocol(config, ServerState(), {})
        self.shared = self.connection.shared
        self.wire = Wire()
        self.connection.transport = cast(Any, self.wire)
        self.connection.begin()
        if compressed:
            self.connection.extensions = [deflate_extension()]

    def feed(self, data: bytes) -> None:
        if self.wire.closing:
            return
        self.connection.data_received(data)
        self.drain()

    def drain(self) -> None:
        """Receive as an application does, until nothing is there and the next loop turn brings no more."""
        buffer = self.connection.receive_buffer
        while buffer._events or self.connection._reading_paused:
            while buffer._events:
                try:
                    buffer.receive().send(None)
                except StopIteration as stop:
                    event = stop.value
                    self.messages.append(event["text"] if "text" in event else event["bytes"])
            self.connection._read_on()
        self.connection.answer_close()  # as an application's next receive() does

    def outcome(self) -> Outcome:
        self.connection.flush()
        self.sent = b"".join(self.wire.written)
        self.connection.connection_lost(None)
        return super().outcome()
