"""RFC 7692: compression where both sides want it and where it pays."""

import os
import random
import zlib

import pytest
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from fast_channels.server import CompressedWebSocketProtocol, WebSocketProtocol
from fast_channels.server.frames import MINIMUM, DeflatedFrames

from ..support.raw_websocket import BINARY, CLOSE, PING, TEXT, Echo, RawClient, close_frame, frame
from ..support.uvicorn_server import serving
from ..support.wire_cases import Case, Server, case_table, run_case

OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
RSV1 = 4
COMPRESSED = 0x40  # with the opcode, in what the client reads

LONG = "All work and no play makes Jack a dull boy. " * 60
NOISE = random.Random(7).randbytes(5000)


def deflate(data: bytes) -> bytes:
    encoder = zlib.compressobj(wbits=-12)
    return (encoder.compress(data) + encoder.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflate(data: bytes) -> bytes:
    return zlib.decompressobj(wbits=-12).decompress(data + b"\x00\x00\xff\xff")


def compressed(opcode: int, data: bytes, **options: bool) -> bytes:
    return frame(opcode, deflate(data), rsv=RSV1, **options)


def bomb(megabytes: int) -> bytes:
    """Zeros, of which a megabyte is compressed; it needs nothing of what came before it."""
    encoder = zlib.compressobj(wbits=-12)
    one = encoder.compress(bytes(1_000_000)) + encoder.flush(zlib.Z_FULL_FLUSH)
    return frame(BINARY, (one * megabytes)[:-4], rsv=RSV1)


def halves(data: bytes, *, second: int = 0) -> bytes:
    """A compressed message in two fragments, with a ping between; ``second`` are its RSV bits."""
    data = deflate(data)
    return (
        frame(TEXT, data[: len(data) // 2], fin=False, rsv=RSV1)
        + frame(PING, b"p")
        + frame(0, data[len(data) // 2 :], rsv=second)
    )


def plain(message: str | bytes, code: int = 1000) -> Case:
    """One compressed message, short enough that it comes back as it is."""
    data = message.encode() if isinstance(message, str) else message
    opcode = TEXT if isinstance(message, str) else BINARY
    return Case(f"{len(data)}-bytes-{opcode}", compressed(opcode, data), (message,), code=code)


@case_table(
    *(plain("x" * size) for size in (0, 1, 16, 125, 126, MINIMUM - 1)),
    *(plain(os.urandom(0) + b"\xfe" * size) for size in (0, 64, 500)),
    Case("not-compressed", frame(TEXT, b"hello"), ("hello",)),
    Case("mixed", compressed(TEXT, b"a") + frame(TEXT, b"b") + compressed(TEXT, b"c"), (*"abc",)),
    Case("fragments", halves(b"hello " * 9), ("hello " * 9,), (b"p",)),
    Case("fragments-twice", halves(b"ab") * 2, ("ab", "ab"), (b"p", b"p")),
    Case("rsv-in-continuation", halves(b"hello", second=RSV1), pongs=(b"p",), code=1002),
    Case("rsv-in-ping", frame(PING, b"", rsv=RSV1), code=1002),
    Case("rsv-in-close", frame(CLOSE, b"", rsv=RSV1), code=1002),
    Case("rsv2", frame(TEXT, b"x", rsv=2), code=1002),
    Case("rsv1-and-2", frame(TEXT, deflate(b"x"), rsv=6), code=1002),
    Case("garbage", frame(TEXT, b"\xff\xfe\xfd", rsv=RSV1), code=1002),
    Case("not-utf-8", compressed(TEXT, b"\xed\xa0\x80"), code=1007),
    Case("bomb", bomb(50), code=1009),
    Case("just-too-large", compressed(BINARY, bytes(100_001)), code=1009),
)
def test_receiving(deflating_server: Server, case: Case, chopped: bool) -> None:
    """Compressed messages are read, within the limit of their size; RSV1 means nothing elsewhere."""
    run_case(deflating_server, case, chopped, OFFER)


@pytest.mark.parametrize("size", [MINIMUM - 1, MINIMUM, 60_000, 100_000])
def test_sending(deflating_server: Server, size: int) -> None:
    """From ``MINIMUM`` bytes on a message is compressed, with a fresh window each."""
    text = (LONG * 40)[:size]
    with RawClient(deflating_server.address, headers=OFFER) as client:
        assert "client_no_context_takeover" in client.head
        assert "server_no_context_takeover" in client.head
        for opcode in (TEXT, BINARY, TEXT):
            client.send(frame(opcode, text.encode()))
            received = client.next_frame()
            assert received is not None
            if size < MINIMUM:
                assert received == (opcode, text.encode(), True)
            else:
                assert received[0] == COMPRESSED | opcode
                assert inflate(received[1]) == text.encode()
                assert len(received[1]) < size / 4


def test_noise_is_sent_as_it_is(deflating_server: Server) -> None:
    """What compression would lengthen is not compressed."""
    with RawClient(deflating_server.address, headers=OFFER) as client:
        client.send(frame(BINARY, NOISE))
        assert client.next_frame() == (BINARY, NOISE, True)


def test_clients_that_do_not_offer_it(deflating_server: Server) -> None:
    """They are sent nothing compressed, and may send nothing compressed."""
    run_case(deflating_server, Case("rsv", compressed(TEXT, b"x"), code=1002), chopped=False)
    with RawClient(deflating_server.address) as client:
        assert "Extensions" not in client.head
        client.send(frame(TEXT, LONG.encode()))
        assert client.next_frame() == (TEXT, LONG.encode(), True)


@pytest.mark.parametrize("protocol", [WebSocketProtocol, CompressedWebSocketProtocol])
async def test_when_it_is_negotiated(protocol: type[WebSocketProtocol]) -> None:
    """By the compressing class, and not if uvicorn's own setting is off."""
    wanted = protocol is CompressedWebSocketProtocol
    async with serving(Echo(), ws=protocol) as address, connect(f"ws://{address}/") as client:
        assert bool(client.protocol.extensions) is wanted
        await client.send(LONG)
        assert await client.recv() == LONG
    off = serving(Echo(), ws=protocol, ws_per_message_deflate=False)
    async with off as address, connect(f"ws://{address}/") as client:
        assert client.protocol.extensions == []


@pytest.mark.parametrize("server", [None, 9, 12, 15])
@pytest.mark.parametrize("client", [True, None, 9, 12, 15])
@pytest.mark.parametrize("takeover", [False, True])
async def test_all_offers(
    deflating_server: Server, server: int | None, client: int | bool | None, takeover: bool
) -> None:
    """Whatever window a client offers, both sides understand each other."""
    offer = ClientPerMessageDeflateFactory(
        server_no_context_takeover=takeover,
        client_no_context_takeover=takeover,
        server_max_window_bits=server,
        client_max_window_bits=client,
    )
    host, port = deflating_server.address
    url = f"ws://{host}:{port}/"
    async with connect(url, compression=None, extensions=[offer]) as connection:
        assert len(connection.protocol.extensions) == 1
        for message in (LONG, LONG.encode(), "short", NOISE, LONG * 20):
            await connection.send(message)
            assert await connection.recv() == message


def test_made_once() -> None:
    """One compressed frame for all sockets of a window, until the loop turn is over."""
    frames = DeflatedFrames(12, MINIMUM)
    assert frames[LONG] is frames["".join(LONG)]
    assert frames.binary(LONG.encode()) is frames.binary(bytearray(LONG.encode()))
    kept = frames[LONG]
    frames.forget()
    assert not frames
    assert frames[LONG] is not kept


def test_close(deflating_server: Server) -> None:
    """Control frames are never compressed."""
    with RawClient(deflating_server.address, headers=OFFER) as client:
        client.send(frame(PING, b"p" * 125) + close_frame(4000, "x" * 120))
        answer = client.answer()
    assert answer.pongs == [b"p" * 125]
    assert answer.code == 4000
