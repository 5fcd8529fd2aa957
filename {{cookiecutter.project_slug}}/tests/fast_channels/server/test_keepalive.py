"""Pings of the server, and clients that do not answer them."""

import asyncio
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.frames import Frame

from fast_channels.server import WebSocketProtocol
from fast_channels.server.shared import Deadlines
from fast_channels.type_defs import Receive, Scope, Send

from ..support.expect import eventually
from ..support.raw_websocket import PONG, TEXT, RawClient, close_frame, frame, serving_in_thread
from ..support.uvicorn_server import serving
from ..support.virtual_time import VirtualLoop


class App:
    """Receives nothing until it is told to."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.go_on = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await self.go_on.wait()
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})
        self.codes.append(event["code"])


async def test_clients_that_answer_stay() -> None:
    """Ping after ping; all of them are answered by this client."""
    app = App()
    options = {"ws_ping_interval": 0.02, "ws_ping_timeout": 0.5}
    async with serving(app, ws=WebSocketProtocol, **options) as address:
        async with connect(f"ws://{address}/", ping_interval=None) as client:
            pings: list[Frame] = []
            handle = client.protocol.recv_frame

            def note(received: Frame) -> None:
                pings.append(received)
                handle(received)

            client.protocol.recv_frame = note  # type: ignore[method-assign]
            await eventually(lambda: len(pings) >= 5, "five pings")
            app.go_on.set()
            await client.send("still here")
            assert await client.recv() == "still here"
        await eventually(lambda: app.codes == [1000], "the disconnect")


def silent_client(address: Any, answer: bytes) -> tuple[int, int | None]:
    """How many pings it got until the server closed, and with which code."""
    with RawClient(address) as client:
        client.send(answer)
        received = client.answer()
    assert all(len(payload) == 4 for payload in received.pings)
    return len(received.pings), received.code


@pytest.mark.parametrize(
    "answer", [b"", frame(PONG, b"other"), frame(TEXT, b"x")], ids=["none", "wrong", "message"]
)
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_no_answer_closes_with_1011(loop: Any, answer: bytes) -> None:
    """One ping, and no answer that repeats its payload: the connection is given up."""
    app = App()
    app.go_on.set()
    options = {"ws_ping_interval": 0.05, "ws_ping_timeout": 0.1}
    with serving_in_thread(app, loop=loop, **options) as address:
        assert silent_client(address, answer) == (1, 1011)
    assert app.codes == [1011]


def test_without_a_timeout() -> None:
    """Pings go on, and no answer is expected."""
    app = App()
    app.go_on.set()
    options = {"ws_ping_interval": 0.02, "ws_ping_timeout": None}
    with serving_in_thread(app, **options) as address, RawClient(address) as client:
        assert [client.next_frame()[0] for _ in range(4)] == [9] * 4  # type: ignore[index]
        client.send(close_frame())
        assert client.answer().code == 1000


def test_no_pings() -> None:
    """An interval of None sends none."""
    app = App()
    app.go_on.set()
    with serving_in_thread(app, ws_ping_interval=None) as address, RawClient(address) as client:
        client.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.next_frame()


async def test_pongs_that_cannot_be_read_yet() -> None:
    """A slow application stops the reading, and with it the pongs; the client is not to blame.

    uvicorn's own protocol closes such a connection with 1011.
    """
    app = App()
    options = {"ws_ping_interval": 0.02, "ws_ping_timeout": 1, "ws_max_queue": 2}
    async with (
        serving(app, ws=WebSocketProtocol, **options) as address,
        connect(f"ws://{address}/", ping_interval=None) as client,
    ):
        for number in range(10):
            await client.send(str(number))
        await asyncio.sleep(2)  # twice the time for a pong
        app.go_on.set()
        assert [await client.recv() for _ in range(10)] == [str(number) for number in range(10)]


def test_deadlines_expire_in_order() -> None:
    """Each after its delay and at most 5 % later; not those that were stopped or begun anew."""

    async def in_order() -> None:
        loop = asyncio.get_running_loop()
        expired: dict[str, float] = {}
        deadlines = Deadlines[str](loop, 0.2, lambda item: expired.update({item: loop.time()}))
        added = {}
        for item in ("a", "b", "c", "d"):
            deadlines.add(item)
            added[item] = loop.time()
            await asyncio.sleep(0.02)
        deadlines.add("a")
        added["a"] = loop.time()
        assert deadlines.discard("b")
        assert not deadlines.discard("b")
        await asyncio.sleep(1)
        assert list(expired) == ["c", "d", "a"]
        for item, moment in expired.items():
            assert 0.199 < moment - added[item] < 0.211
        deadlines.add("e")
        await asyncio.sleep(1)
        assert "e" in expired

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(in_order())


async def test_one_that_expires_stops_another() -> None:
    """A deadline that is discarded by the one before it does not expire."""
    loop = asyncio.get_running_loop()
    expired = []

    def expire(item: str) -> None:
        expired.append(item)
        deadlines.discard("second")

    deadlines = Deadlines[str](loop, 0.01, expire)
    for item in ("first", "second", "third"):
        deadlines.add(item)
    await eventually(lambda: expired == ["first", "third"], "two to expire")
