"""100,000 mixed frames each way, through readers of all speeds: order, integrity, joined writes."""

import asyncio
import hashlib
import random
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from fast_channels.server import WebSocketProtocol
from fast_channels.type_defs import Receive, Scope, Send

from ..support.expect import eventually
from ..support.raw_websocket import (
    BINARY,
    PING,
    PONG,
    REQUEST,
    TEXT,
    close_frame,
    frame,
    serving_in_thread,
)
from ..support.uvicorn_server import serving

COUNT = 12_500
Message = str | bytes


def messages(count: int, seed: int) -> list[Message]:
    """Texts and bytes of all lengths, each with its number; some of them fragmented by chance."""
    source = random.Random(seed)
    made: list[Message] = []
    for number in range(count):
        size = source.choice((0, 10, 110, 125, 300)) if number % 1000 else 70_000
        text = f"{number} ".ljust(size, "ü")
        made.append(text.encode() if number % 3 == 0 else text)
    return made


def encode(message: Message, source: random.Random) -> bytes:
    """As a client may send it: whole or fragmented, sometimes with a ping between or after."""
    opcode = TEXT if isinstance(message, str) else BINARY
    payload = message.encode() if isinstance(message, str) else message
    chance = source.random()
    if chance < 0.9:
        return frame(opcode, payload)
    half = len(payload) // 2
    between = frame(PING, b"between") if chance < 0.95 else b""
    return frame(opcode, payload[:half], fin=False) + between + frame(0, payload[half:])


class Digest:
    """Of a sequence of messages, each with its kind."""

    def __init__(self) -> None:
        self.count = 0
        self._hash = hashlib.sha256()

    def add(self, message: Message) -> None:
        text = isinstance(message, str)
        payload = message.encode() if isinstance(message, str) else message
        self._hash.update(b"%d %d " % (text, len(payload)) + payload)
        self.count += 1

    @classmethod
    def of(cls, sequence: list[Message]) -> str:
        digest = cls()
        for message in sequence:
            digest.add(message)
        return digest.value

    @property
    def value(self) -> str:
        return f"{self.count} {self._hash.hexdigest()}"


class App:
    """Sends its messages and reads those of the client at the same time, some slowly."""

    def __init__(self, sent: list[Message], pause_every: int) -> None:
        self.sent = sent
        self.pause_every = pause_every
        self.received = Digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.read(receive))
            tasks.create_task(self.write(send))

    async def read(self, receive: Receive) -> None:
        while (event := await receive())["type"] == "websocket.receive":
            self.received.add(event["text"] if "text" in event else event["bytes"])
            if self.received.count % self.pause_every == 0:
                await asyncio.sleep(0.001)

    async def write(self, send: Send) -> None:
        for number, message in enumerate(self.sent):
            kind = "text" if isinstance(message, str) else "bytes"
            await send({"type": "websocket.send", kind: message})
            if number % 7 == 0:
                await asyncio.sleep(0)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize(("pause_every", "slow_client"), [(5_000, False), (500, True)])
def test_both_ways_at_once(loop: Any, pause_every: int, slow_client: bool) -> None:
    """All arrive in order, unchanged, whichever side is the slow one; each ping is answered."""
    there, back = messages(COUNT, 1), messages(COUNT, 2)
    source = random.Random(3)
    data = b"".join(encode(message, source) for message in there)
    app = App(back, pause_every)
    options: Any = {"ws_ping_interval": 0.05, "ws_ping_timeout": None, "ws_max_size": 2**20}
    with serving_in_thread(app, loop=loop, **options) as address:
        got, pongs = asyncio.run(converse(address, data, COUNT, slow_client))
    assert got == Digest.of(back)
    assert app.received.value == Digest.of(there)
    # The latest of the pings that come while the client is slow is answered, the others may be.
    assert pongs <= data.count(frame(PING, b"between"))
    if not slow_client:
        assert pongs > 0


async def converse(
    address: tuple[str, int], data: bytes, count: int, slow: bool
) -> tuple[str, int]:
    """Write the data while reading so many messages, and the first pong, which may come behind them; then
    close. One that is slow waits for no pong. Gives digest and pongs.
    """
    reader, writer = await asyncio.open_connection(*address)
    writer.write(REQUEST.format(path="", more="").encode())
    await reader.readuntil(b"\r\n\r\n")
    digest, pongs = Digest(), 0

    async def write() -> None:
        for begin in range(0, len(data), 50_000):
            writer.write(data[begin : begin + 50_000])
            await writer.drain()

    writing = asyncio.create_task(write())
    async with asyncio.timeout(60):
        while digest.count < count or not (pongs or slow):
            first, length = await reader.readexactly(2)
            if length >= 126:
                length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8))
            payload = await reader.readexactly(length)
            if first & 0x0F in (TEXT, BINARY):
                digest.add(payload.decode() if first & 0x0F == TEXT else payload)
                if slow and digest.count % 2000 == 0:
                    await asyncio.sleep(0.01)
            elif first & 0x0F == PONG:
                assert payload == b"between"
                pongs += 1
    await writing
    writer.write(close_frame())
    await reader.read()
    writer.close()
    return digest.value, pongs


async def test_fan_out_to_clients_of_all_speeds() -> None:
    """The same texts to 20 clients, from several tasks: each gets each sender's texts in order."""
    sends: list[Send] = []
    over = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        sends.append(send)
        await over.wait()

    async def talk(sender: int) -> None:
        for number in range(200):
            for send in sends:
                await send({"type": "websocket.send", "text": f"{sender} {number}"})
            await asyncio.sleep(0 if number % 3 else 0.001)

    async def listen(client: ClientConnection, pause: float) -> None:
        last = [-1, -1, -1]
        for _ in range(600):
            sender, number = map(int, str(await client.recv()).split())
            assert number == last[sender] + 1
            last[sender] = number
            await asyncio.sleep(pause)

    async with serving(app, ws=WebSocketProtocol) as address:
        clients = [await connect(f"ws://{address}/") for _ in range(20)]
        await eventually(lambda: len(sends) == 20, "all to be accepted")
        async with asyncio.TaskGroup() as tasks:
            for number, client in enumerate(clients):
                tasks.create_task(listen(client, 0.0005 if number % 5 == 0 else 0))
            for sender in range(3):
                tasks.create_task(talk(sender))
        over.set()
        for client in clients:
            await client.close()
