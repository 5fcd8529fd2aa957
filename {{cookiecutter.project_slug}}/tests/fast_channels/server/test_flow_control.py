"""Clients that read slowly or not at all, and applications that receive slowly: all is bounded."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect

from fast_channels.server import WebSocketProtocol
from fast_channels.server.receive_buffer import MAX_BYTES
from fast_channels.type_defs import Receive, Scope, Send

from ..support.expect import eventually
from ..support.raw_websocket import PING, PONG, REQUEST, TEXT, close_frame, frame
from ..support.uvicorn_server import serving

MESSAGE = "x" * 10_000


class App:
    """Accepts each connection, and lends its receive and send to the test."""

    def __init__(self) -> None:
        self.receives: list[Receive] = []
        self.sends: list[Any] = []
        self.over = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        self.receives.append(receive)
        self.sends.append(send)
        await self.over.wait()

    @property
    def connection(self) -> WebSocketProtocol:
        """The first one, on whose send the application calls."""
        found: WebSocketProtocol = self.sends[0].__self__
        return found


@asynccontextmanager
async def served(app: App, **options: Any) -> AsyncIterator[str]:
    async with serving(app, ws=WebSocketProtocol, **options) as address:
        try:
            yield address
        finally:
            app.over.set()


@asynccontextmanager
async def raw(app: App, address: str) -> AsyncIterator[tuple[Any, Any]]:
    """A connection that reads only what the test reads: 1 KiB in user space."""
    reader, writer = await asyncio.open_connection(*address.split(":"), limit=1024)
    writer.write(REQUEST.format(path="", more="").encode())
    await reader.readuntil(b"\r\n\r\n")
    await eventually(lambda: bool(app.sends), "the accept")
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def read_frames(reader: asyncio.StreamReader, count: int) -> list[tuple[int, bytes]]:
    frames = []
    for _ in range(count):
        first, length = await reader.readexactly(2)
        if length >= 126:
            length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8))
        frames.append((first & 0x0F, await reader.readexactly(length)))
    return frames


async def send_many(send: Send, count: int) -> None:
    for number in range(count):
        await send({"type": "websocket.send", "text": f"{number} {MESSAGE}"})


async def test_send_waits_for_a_slow_reader() -> None:
    """Nothing is lost and little is held: a send waits until the client reads on."""
    app, count = App(), 3000
    async with served(app) as address, raw(app, address) as (reader, _):
        tracemalloc.start()
        sending = asyncio.create_task(send_many(app.sends[0], count))
        await eventually(lambda: bool(app.connection._blocked), "the sender to wait")
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert used < 1024 * 1024  # of 30 MB
        assert not sending.done()
        for number, (opcode, payload) in enumerate(await read_frames(reader, count)):
            assert opcode == TEXT
            assert payload.decode() == f"{number} {MESSAGE}"
        await sending


async def test_others_go_on() -> None:
    """While one client reads nothing, another gets its messages."""
    app = App()
    async with served(app) as address, raw(app, address):
        sending = asyncio.create_task(send_many(app.sends[0], 3000))
        await eventually(lambda: bool(app.connection._blocked), "the sender to wait")
        async with connect(f"ws://{address}/") as other:
            await eventually(lambda: len(app.sends) == 2, "the accept")
            for number in range(100):
                await app.sends[1]({"type": "websocket.send", "text": str(number)})
                assert await other.recv() == str(number)
            assert not sending.done()
            sending.cancel()
            app.over.set()


@pytest.mark.parametrize("ending", ["lost", "closed"])
async def test_waiting_senders_are_released(ending: str) -> None:
    """All of them, when the client is gone or the application closes: with an OSError."""
    app = App()
    async with served(app) as address, raw(app, address) as (_, writer):
        sending = [asyncio.create_task(send_many(app.sends[0], 3000)) for _ in range(3)]
        await eventually(lambda: len(app.connection._blocked or ()) == 3, "three to wait")
        if ending == "lost":
            writer.transport.abort()
        else:
            await app.sends[0]({"type": "websocket.close"})
        async with asyncio.timeout(30):
            for each in sending:
                with pytest.raises(OSError):  # noqa: PT011
                    await each


async def test_a_cancelled_send() -> None:
    """It has sent its message wholly or not at all, and the next one goes on."""
    app = App()
    async with served(app) as address, raw(app, address) as (reader, _):
        filling = asyncio.create_task(send_many(app.sends[0], 3000))
        await eventually(lambda: bool(app.connection._blocked), "the sender to wait")
        filling.cancel()
        await asyncio.sleep(0)
        last = asyncio.create_task(app.sends[0]({"type": "websocket.send", "text": "last"}))
        seen = 0
        while (received := await read_frames(reader, 1)) != [(TEXT, b"last")]:
            assert received == [(TEXT, f"{seen} {MESSAGE}".encode())]
            seen += 1
        await last


async def test_pings_of_a_client_that_does_not_read() -> None:
    """Their answers do not pile up: the latest ping is answered (RFC 6455, 5.5.3)."""
    app, count = App(), 30_000
    async with served(app) as address, raw(app, address) as (reader, writer):
        sending = asyncio.create_task(send_many(app.sends[0], 1000))
        await eventually(lambda: bool(app.connection._blocked), "the sender to wait")
        tracemalloc.start()
        for number in range(0, count, 100):
            pings = (frame(PING, str(number + k).encode().ljust(120)) for k in range(100))
            writer.write(b"".join(pings))
            await writer.drain()
        last = str(count - 1).encode().ljust(120)
        await eventually(lambda: app.connection._pong == last, "the last ping to be read")
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert used < 256 * 1024  # of 3.6 MB
        frames = await read_frames(reader, 1001)
        await sending
        assert [payload for opcode, payload in frames if opcode == PONG] == [last]


@pytest.mark.parametrize(
    ("size", "held"), [(100, 32), (MAX_BYTES // 4, 4), (2 * MAX_BYTES, 1)], ids=str
)
async def test_slow_application(size: int, held: int) -> None:
    """At most ``ws_max_queue`` messages, or ``MAX_BYTES`` and one message, are read ahead."""
    app, count = App(), 200
    options = {"ws_max_queue": 32, "ws_max_size": 2**20}
    async with served(app, **options) as address, raw(app, address) as (_, writer):
        buffer = app.connection.receive_buffer
        data = b"".join(frame(TEXT, str(n).ljust(size).encode()) for n in range(count))
        writer.write(data + close_frame(4000))
        await eventually(lambda: buffer.full, "the receive buffer to be full")
        await asyncio.sleep(0.02)  # nothing more is put
        assert len(buffer._events) == held
        for number in range(count):
            event = await app.receives[0]()
            assert int(event["text"]) == number
            assert len(buffer._events) <= held
        assert (await app.receives[0]())["code"] == 4000


async def test_a_burst_of_small_messages_is_not_unpacked_at_once() -> None:
    """30,000 messages in a few reads stay bytes until there is room for them."""
    app, count = App(), 30_000
    async with served(app, ws_max_queue=16) as address, raw(app, address) as (_, writer):
        writer.write(frame(TEXT, b"") * count + close_frame())
        await eventually(
            lambda: app.connection.receive_buffer.full, "the receive buffer to be full"
        )
        for _ in range(count):
            assert (await app.receives[0]()) == {"type": "websocket.receive", "text": ""}
            assert len(app.connection.receive_buffer._events) <= 16
        assert (await app.receives[0]())["type"] == "websocket.disconnect"


async def test_close_while_the_receive_buffer_is_full() -> None:
    """The client's answer is found behind messages that nobody receives."""
    app = App()
    async with served(app, ws_max_queue=4) as address, connect(f"ws://{address}/") as client:
        await eventually(lambda: bool(app.sends), "the accept")
        for number in range(20):
            await client.send(str(number))
        await eventually(
            lambda: app.connection.receive_buffer.full, "the receive buffer to be full"
        )
        await app.sends[0]({"type": "websocket.close", "code": 4002})
        async with asyncio.timeout(30):
            await client.wait_closed()
        assert client.close_code == 4002
        told = [await app.receives[0]() for _ in range(5)]
        assert [event.get("text") for event in told] == ["0", "1", "2", "3", None]
        assert told[-1]["code"] == 4002


async def test_cancelled_receives_lose_nothing() -> None:
    """Nor does one that is cancelled just when a message comes."""
    app = App()
    async with served(app) as address, connect(f"ws://{address}/") as client:
        await eventually(lambda: bool(app.sends), "the accept")
        got: list[str] = []
        for number in range(200):
            waiting = asyncio.create_task(app.receives[0]())  # type: ignore[arg-type]
            await asyncio.sleep(0)
            await client.send(str(number))
            if number % 3:
                await asyncio.sleep(0)
            if number % 2:
                waiting.cancel()
            try:
                got.append((await waiting)["text"])
            except asyncio.CancelledError:
                got.append((await app.receives[0]())["text"])
        assert got == [str(number) for number in range(200)]
        assert not app.connection.receive_buffer._waiters


async def test_two_tasks_receive() -> None:
    """Each message goes to one of them, and both learn of the end."""
    app = App()
    async with served(app) as address, connect(f"ws://{address}/") as client:
        await eventually(lambda: bool(app.sends), "the accept")

        async def receive_all() -> list[str]:
            texts = []
            while (event := await app.receives[0]())["type"] == "websocket.receive":
                texts.append(event["text"])
            return texts

        both = [asyncio.create_task(receive_all()) for _ in range(2)]
        for number in range(100):
            await client.send(str(number))
        await client.close()
        async with asyncio.timeout(30):
            first, second = await asyncio.gather(*both)
        assert sorted(map(int, first + second)) == list(range(100))
