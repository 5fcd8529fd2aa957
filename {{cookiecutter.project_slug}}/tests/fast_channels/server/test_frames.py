"""Frames made once per fan-out, and one write per connection and loop turn."""

import asyncio

import pytest
from websockets.frames import Frame, Opcode

from fast_channels.server.connection import OUTBOX
from fast_channels.server.frames import BINARY, CACHED_BYTES, LONG, PONG, TEXT, FrameCache, frame

from ..support.protocol_fuzz import Subject

SIZES = (0, 1, 124, 125, 126, 127, 65534, 65535, 65536, 70_000)


@pytest.mark.parametrize("opcode", [TEXT, BINARY, PONG])
@pytest.mark.parametrize("size", SIZES)
def test_as_the_library_makes_them(opcode: int, size: int) -> None:
    """Byte for byte what ``websockets`` serializes."""
    payload = b"x" * size
    if opcode != PONG or size <= 125:
        assert frame(opcode, payload) == Frame(Opcode(opcode), payload).serialize(mask=False)
    if opcode == TEXT:
        assert FrameCache()[payload.decode()] == frame(TEXT, payload)


def test_an_equal_text_is_framed_once() -> None:
    """Until the turn is over."""
    frames = FrameCache()
    first = frames["hello"]
    assert frames[b"hello".decode()] is first
    assert frames["Hello"] != first
    frames.forget()
    assert frames["hello"] is not first
    assert frames["hello"] == first


def test_it_is_bounded() -> None:
    """In bytes, however many texts come in one turn, and however large one is."""
    frames = FrameCache()
    for number in range(5000):
        assert frames[f"{number} {'x' * 1000}"].startswith(b"\x81\x7e")
        assert sum(map(len, frames.values())) <= CACHED_BYTES
    assert len(frames["y" * 3 * CACHED_BYTES]) == 3 * CACHED_BYTES + 10
    assert list(frames) == ["y" * 3 * CACHED_BYTES]
    frames["z"]
    assert list(frames) == ["z"]


def test_long_texts() -> None:
    """The last one is kept, once; a text that is merely equal is framed again."""
    frames = FrameCache()
    text, other = "a" * (LONG + 1), "b" * (LONG + 1)
    first = frames.long(text)
    assert frames.long(text) is first
    assert frames.long(other) == frame(TEXT, other.encode())
    assert frames.long(text) == first
    assert frames.long("a" * (LONG + 1)) == first
    frames.forget()
    assert frames._long is None
    assert not frames


class Alike(str):
    """Says that it equals everything, as a careless subclass may."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True


async def test_a_text_that_lies_about_its_equality() -> None:
    """Gets a frame of its own, and is nobody else's."""
    subject = Subject(1000, compressed=False)
    send = subject.connection.send
    for text in ("secret", Alike("secret"), Alike("public"), "public", "secret"):
        await send({"type": "websocket.send", "text": text})
    subject.connection.flush()
    texts = ("secret", "secret", "public", "public", "secret")
    assert b"".join(subject.wire.written) == b"".join(frame(TEXT, text.encode()) for text in texts)
    assert all(type(text) is str for text in subject.shared.frames)


async def test_one_write_per_connection_and_turn() -> None:
    """All frames of a turn, of all kinds, in their order."""
    subject = Subject(1000, compressed=False)
    connection = subject.connection
    await connection.send({"type": "websocket.send", "text": "a"})
    connection.send_frame(frame(PONG, b"p"))
    await connection.send({"type": "websocket.send", "bytes": memoryview(b"b")})
    await connection.send({"type": "websocket.send", "text": "a"})
    assert subject.wire.written == []
    await asyncio.sleep(0)
    a, b = frame(TEXT, b"a"), frame(BINARY, b"b")
    assert subject.wire.written == [a + frame(PONG, b"p") + b + a]
    assert not subject.shared.frames
    await asyncio.sleep(0)
    assert len(subject.wire.written) == 1


async def test_much_is_written_before_the_turn_is_over() -> None:
    """No more than ``OUTBOX`` bytes and one frame are ever queued."""
    subject = Subject(1000, compressed=False)
    for _ in range(100):
        await subject.connection.send({"type": "websocket.send", "text": "x" * 10_000})
        assert subject.connection._queued <= OUTBOX
    assert len(subject.wire.written) == 100 // (OUTBOX // 10_004 + 1)


async def test_nothing_is_written_to_what_is_closed() -> None:
    """A transport that broke in this turn gets no more; others get theirs."""
    first, second = Subject(1000, compressed=False), Subject(1000, compressed=False)
    second.connection.shared = first.shared
    second.connection.frames = first.shared.frames
    for subject in (first, second):
        await subject.connection.send({"type": "websocket.send", "text": "x"})
    first.wire.closing = True
    await asyncio.sleep(0)
    assert first.wire.written == []
    assert second.wire.written == [frame(TEXT, b"x")]
    assert first.connection._queued == 0
