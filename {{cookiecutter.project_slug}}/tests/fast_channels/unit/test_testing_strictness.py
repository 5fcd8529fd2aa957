"""What a server refuses, a communicator refuses too: what passes a test passes in production."""

import contextlib
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.frames import CloseCode

from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from fast_channels.exceptions import FastChannelsError
from fast_channels.server import WebSocketProtocol
from fast_channels.testing import (
    ApplicationCommunicator,
    HttpCommunicator,
    UnexpectedEvent,
    WebsocketCommunicator,
)
from fast_channels.type_defs import Receive, Scope, Send

from ..support.asgi_apps import no_task_left
from ..support.expect import eventually
from ..support.uvicorn_server import serving

__all__ = ["no_task_left"]

ACCEPT = {"type": "websocket.accept"}
CLOSE = {"type": "websocket.close"}
DENIAL = {"type": "websocket.http.response.start", "status": 401, "headers": []}
DENIAL_BODY = {"type": "websocket.http.response.body", "body": b""}
START = {"type": "http.response.start", "status": 200, "headers": []}
BODY = {"type": "http.response.body", "body": b""}
LENGTH = {**START, "headers": [(b"content-length", b"3")]}


def frame(**fields: Any) -> dict[str, Any]:
    return {"type": "websocket.send", **fields}


# The events that an application sends, of which a server refuses the last one.
REFUSED: list[list[dict[str, Any]]] = [
    [frame(text="early")],
    [{"type": "websocket.accept", "headers": [("name", "text")]}],
    [{"type": "websocket.accept", "headers": [(b"name", b"two\r\nlines")]}],
    [{"type": "websocket.accept", "headers": [(b"two words", b"")]}],
    [{"type": "websocket.accept", "headers": [b"name"]}],
    [{"type": "websocket.accept", "headers": None}],
    [{"type": "websocket.accept", "subprotocol": 5}],
    [{**DENIAL, "status": 99}],
    [{**DENIAL, "headers": [("name", "text")]}],
    [DENIAL, {"type": "websocket.http.response.body"}],
    [DENIAL, ACCEPT],
    [DENIAL, DENIAL_BODY, DENIAL_BODY],
    [ACCEPT, ACCEPT],
    [ACCEPT, {"type": "websocket.sned"}],
    [ACCEPT, frame(text=5)],
    [ACCEPT, frame(text=b"bytes")],
    [ACCEPT, frame(text="\ud800")],
    [ACCEPT, frame(bytes="text")],
    *[
        [ACCEPT, {**CLOSE, "code": code}]
        for code in (0, True, 999, 1004, 1005, 1006, 1015, 2999, 5000)
    ],
    [ACCEPT, {**CLOSE, "code": "1000"}],
    [ACCEPT, {**CLOSE, "code": 1000, "reason": "x" * 124}],
    [ACCEPT, {**CLOSE, "code": 1000, "reason": "ž" * 62}],
    [ACCEPT, {**CLOSE, "code": 1000, "reason": b"bytes"}],
    [ACCEPT, {**CLOSE, "code": None, "reason": "without a code"}],
    [ACCEPT, CLOSE, CLOSE],
    [ACCEPT, CLOSE, frame(text="late")],
    [BODY],
    [{**START, "status": 99}],
    [{**START, "status": "200"}],
    [{**START, "headers": [("name", "text")]}],
    [{**START, "headers": [(b"name", b"two\r\nlines")]}],
    [START, START],
    [START, {**BODY, "body": "text"}],
    [START, BODY, BODY],
    [LENGTH, {**BODY, "body": b"more"}],
    [LENGTH, {**BODY, "body": b"le"}],
    [{**START, "status": 204}, {**BODY, "body": b"no content"}],
]

ACCEPTED: list[list[dict[str, Any]]] = [
    [{"type": "websocket.accept", "headers": [], "subprotocol": None}, CLOSE],
    [{"type": "websocket.accept", "headers": ((b"X-Name", b"\xfftext\t"),)}, CLOSE],
    [ACCEPT, frame(text="ž", bytes=None), frame(bytes=b""), frame(bytes=bytearray(b"x")), CLOSE],
    [ACCEPT, {**CLOSE, "code": CloseCode.GOING_AWAY, "reason": "x" * 123}],
    [ACCEPT, {**CLOSE, "code": 4999, "reason": None}],
    [ACCEPT, {**CLOSE, "code": None}],
    [CLOSE],
    [{**CLOSE, "code": 4003}],
    [DENIAL, {**DENIAL_BODY, "body": b"no", "more_body": True}, DENIAL_BODY],
    [START, {**BODY, "body": b"a", "more_body": True}, {"type": "http.response.body"}],
    [LENGTH, {**BODY, "body": b"a", "more_body": True}, {**BODY, "body": b"bc"}],
    [{**START, "status": 204}, BODY],
]


def is_socket(events: list[dict[str, Any]]) -> bool:
    return str(events[0]["type"]).startswith("websocket")


class Sender:
    """Sends one of the lists, the one whose number is the path; keeps what was raised and when."""

    def __init__(self, lists: list[list[dict[str, Any]]]) -> None:
        self.lists = lists
        self.raised: dict[int, tuple[int, Exception | None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        number = int(scope["path"].strip("/"))
        await receive()
        for index, event in enumerate(self.lists[number]):
            try:
                await send(event)
            except Exception as error:
                self.raised[number] = index, error
                raise
        self.raised[number] = len(self.lists[number]), None

    async def by_server(self, protocol: Any) -> None:
        """Let a client ask for each list."""
        async with serving(self, ws=protocol) as address:
            for number, events in enumerate(self.lists):
                if is_socket(events):
                    with contextlib.suppress(WebSocketException, EOFError, OSError):
                        async with connect(f"ws://{address}/{number}") as client:
                            await client.wait_closed()
                else:
                    async with httpx.AsyncClient() as client_:
                        with contextlib.suppress(httpx.HTTPError):
                            await client_.get(f"http://{address}/{number}")
                await eventually(lambda number=number: number in self.raised, f"{events}")

    async def by_communicator(self, number: int) -> ApplicationCommunicator:
        """The communicator, used as long as the application sends."""
        if is_socket(self.lists[number]):
            socket = WebsocketCommunicator(self, f"/{number}")
            await socket.connect()
            await socket.wait()
            return socket
        http = HttpCommunicator(self, f"/{number}")
        await http.get_response()
        return http


async def test_what_a_server_refuses() -> None:
    """The list is right: with one of the protocols the application fails at its last event."""
    senders = [Sender(REFUSED), Sender(REFUSED)]
    for sender, protocol in zip(senders, ("auto", WebSocketProtocol), strict=True):
        await sender.by_server(protocol)
    for number, events in enumerate(REFUSED):
        failed = [one.raised[number] for one in senders if one.raised[number][1] is not None]
        assert failed, events
        assert all(index == len(events) - 1 for index, _ in failed), (events, failed)


@pytest.mark.parametrize("number", range(len(REFUSED)))
async def test_the_communicator_refuses_it(number: int) -> None:
    """At the same event, in the application and in the test, and says what is expected."""
    sender = Sender(REFUSED)
    with pytest.raises(UnexpectedEvent, match=r"expected .* but it sent") as caught:
        await sender.by_communicator(number)
    assert sender.raised[number] == (len(REFUSED[number]) - 1, caught.value)
    assert caught.value.event == REFUSED[number][-1]
    assert isinstance(caught.value, AssertionError)
    assert isinstance(caught.value, FastChannelsError)


@pytest.mark.parametrize("protocol", ["auto", WebSocketProtocol], ids=["uvicorn", "tuned"])
async def test_what_a_server_takes(protocol: Any) -> None:
    """Nothing is raised in the application."""
    sender = Sender(ACCEPTED)
    await sender.by_server(protocol)
    for number, events in enumerate(ACCEPTED):
        assert sender.raised[number] == (len(events), None)


@pytest.mark.parametrize("number", range(len(ACCEPTED)))
async def test_the_communicator_takes_it(number: int) -> None:
    """Nor by a communicator, which is no stricter there."""
    sender = Sender(ACCEPTED)
    await sender.by_communicator(number)
    assert sender.raised[number] == (len(ACCEPTED[number]), None)


@pytest.mark.parametrize(
    "event", [frame(), frame(text="a", bytes=b"b")], ids=["nothing", "text and bytes"]
)
async def test_frames_that_servers_guess_at(event: dict[str, Any]) -> None:
    """A server drops one half, or all of it, without a word; the ASGI specification forbids them."""
    sender = Sender([[ACCEPT, event]])
    with pytest.raises(UnexpectedEvent, match="either text"):
        await sender.by_communicator(0)


async def test_an_application_cannot_hide_it() -> None:
    """What it catches and forgets still reaches the test, by the next call."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        while (await receive())["type"] != "websocket.disconnect":
            with contextlib.suppress(Exception):
                await send(frame(text=5))

    async with WebsocketCommunicator(application, "/") as client:
        await client.send_to("x")
        with pytest.raises(UnexpectedEvent):
            await client.receive_from()


async def test_a_long_close_reason_of_a_consumer() -> None:
    """It fails in the test as it would on a server."""

    class Verbose(AsyncWebsocketConsumer):
        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            await self.close(4000, "x" * 124)

    client = WebsocketCommunicator(Verbose, "/")
    await client.connect()
    await client.send_to("x")
    with pytest.raises((UnexpectedEvent, ValueError), match="123 bytes"):
        await client.receive_output()
    await client.stop()


async def test_sending_to_a_client_that_has_left() -> None:
    """It is an OSError, as with a server that knows version 2.4 of the specification."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        while (await receive())["type"] != "websocket.disconnect":
            pass
        await send(frame(text="late"))

    client = WebsocketCommunicator(application, "/")
    await client.connect()
    with pytest.raises(OSError, match="the client has left"):
        await client.disconnect()
    older = WebsocketCommunicator(application, "/", spec_version="2.3")
    await older.connect()
    await older.disconnect()
