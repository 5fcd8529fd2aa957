"""WebSocket consumers of JSON."""

import enum
import json
import logging
import math
from collections import OrderedDict
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from fast_channels.consumer import AsyncJsonWebsocketConsumer, json_text
from fast_channels.consumer.websocket import unreadable
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.testing import WebsocketCommunicator

from ..support.expect import eventually
from ..support.uvicorn_server import serving

pytestmark = pytest.mark.usefixtures("memory_layer")


class Echo(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(content)


@pytest.mark.parametrize(
    "content", [{"a": [1, 2.5, None, True]}, [], "text", 0, None, {"é": "✓\u2028"}, ""]
)
async def test_json_comes_and_goes(content: Any) -> None:
    """Any JSON value is decoded for receive_json() and encoded by send_json(), as a text frame."""
    async with WebsocketCommunicator(Echo, "/") as client:
        await client.send_json_to(content)
        assert await client.receive_json_from() == content


class Colour(enum.IntEnum):
    RED = 1


CONTENTS: list[Any] = [
    {"a": [1, 2.5, None, True, False, -0.0, 2**70, "é\u2028"], "b": {"c": []}},
    {1: "int", "1": "str"},
    {True: 1},
    (1, [2, (3,)]),
    [1, 1.0, True],
    {"key": Colour.RED},
    OrderedDict(b=1, a=2),
    {"b": 1, "a": 2},
    {"a": 2, "b": 1},
    "x" * 100_000,
    None,
]


@pytest.mark.parametrize("content", CONTENTS, ids="{!r:.20}".format)
def test_what_is_encoded_is_json(content: Any) -> None:
    """Also again, and beside what is equal to it in Python and not in JSON."""
    for _ in range(2):
        for other in CONTENTS:
            assert json_text.encode(other) == json.dumps(other)
        assert json_text.encode(content) == json.dumps(content)


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize("content", [{"set": {1}}, b"bytes", [bytearray(b"x")], object(), CIRCLE])
def test_what_is_no_json_is_the_same_error(content: Any) -> None:
    """Twice, as nothing of it is kept."""
    with pytest.raises((TypeError, ValueError)) as expected:
        json.dumps(content)
    for _ in range(2):
        with pytest.raises(expected.type) as caught:
            json_text.encode(content)
        assert str(caught.value) == str(expected.value)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
async def test_not_a_number_is_not_sent(number: float) -> None:
    """NaN and Infinity are no JSON: a ValueError at the sender, and the client gets no such frame."""

    class Broken(AsyncJsonWebsocketConsumer):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            for _ in range(2):
                with pytest.raises(ValueError, match="JSON compliant"):
                    await self.send_json({"price": number})
            await self.send_json({"price": None})

    async with WebsocketCommunicator(Broken, "/") as client:
        with pytest.raises(ValueError, match="JSON compliant"):
            await client.send_json_to([number])
        await client.send_json_to({})
        assert await client.receive_json_from() == {"price": None}


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"price": -Infinity}', "1e400", "[-1e999]"])
async def test_not_a_number_is_not_received(text: str) -> None:
    """A ValueError names it, as for other text that is no JSON; so no echo of it can fail."""
    with pytest.raises(ValueError, match=r"finite numbers, not (-?Infinity|NaN|-?1e)"):
        await AsyncJsonWebsocketConsumer.decode_json(text)
    assert await AsyncJsonWebsocketConsumer.decode_json("[1e300, -2.5, 3]") == [1e300, -2.5, 3]


def test_few_texts_are_kept() -> None:
    """However many are sent, and none that is large."""
    for number in range(1000):
        json_text.encode([number])
        json_text.encode(f"{number} " + "x" * 20_000)
    assert len(json_text._texts) <= json_text.ENTRIES
    assert max(map(len, json_text._texts.values())) < 20_000


async def test_a_group_message_is_encoded_once(
    memory_layer: InMemoryChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For all members of this process, although each has a copy of its own."""

    class Member(AsyncJsonWebsocketConsumer):
        channel_layer_alias = "default"
        groups = ("room",)

        async def told(self, event: dict[str, Any]) -> None:
            await self.send_json(event["content"])
            event["content"]["list"].append("changed by one member")

    encoded = []

    def encode(content: Any) -> str:
        encoded.append(content)
        return json.JSONEncoder().encode(content)

    content = {"list": [1], "text": "to all"}
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(WebsocketCommunicator(Member, "/")) for _ in range(20)
        ]
        monkeypatch.setattr("fast_channels.consumer.json_text._encode", encode)
        await memory_layer.group_send("room", {"type": "told", "content": content})
        texts = [await client.receive_from() for client in clients]
    assert {*texts} == {'{"list": [1], "text": "to all"}'}
    assert len(encoded) == 1


async def test_send_json_may_close() -> None:
    """send_json(close=True) sends the value, then closes with 1000; an int is the code."""

    class Last(AsyncJsonWebsocketConsumer):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await self.send_json({"last": True}, close=content["close"])

    for close, code in ((True, 1000), (4002, 4002)):
        async with WebsocketCommunicator(Last, "/") as client:
            await client.send_json_to({"close": close})
            assert await client.receive_json_from() == {"last": True}
            assert await client.receive_output() == {"type": "websocket.close", "code": code}


@pytest.mark.parametrize("frame", [{"bytes_data": b"{}"}, {"text_data": "{"}, {"text_data": ""}])
async def test_what_is_no_json_ends_the_socket(frame: dict[str, Any]) -> None:
    """A binary frame or broken JSON is a ValueError in a test: the client is closed with 1011."""
    client = WebsocketCommunicator(Echo, "/")
    assert await client.connect() == (True, None)
    await client.send_to(**frame)
    with pytest.raises(ValueError, match=r"No text section|Expecting"):
        await client.wait()
    assert await client.receive_output() == {"type": "websocket.close", "code": 1011}


@pytest.mark.usefixtures("each_protocol")
@pytest.mark.parametrize(
    ("frame", "code"),
    [("{", 1007), ("", 1007), ("[NaN]", 1007), ("[" * 20_000, 1007), (b"{}", 1003)],
)
async def test_a_client_that_sends_no_json(
    caplog: pytest.LogCaptureFixture, frame: str | bytes, code: int
) -> None:
    """On a server the client is told its fault by a close code; it is counted, and is no error there."""
    codes, before = [], unreadable.total

    class Noting(Echo):
        async def disconnect(self, code: int) -> None:
            codes.append(code)

    async with serving(Noting.as_asgi()) as address, connect(f"ws://{address}/") as client:
        await client.send(frame)
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (code, "expected JSON in a text frame")
        await eventually(lambda: codes == [code], "disconnect()")
    assert unreadable.total - before == 1
    assert [one for one in caplog.records if one.levelno > logging.WARNING] == []
    assert "Traceback" not in caplog.text


async def test_a_handlers_own_value_error_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """Also on a server, and behind valid JSON: closed with 1011, and with a traceback in the log."""

    class Failing(Echo):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await self.decode_json("{")

    async with serving(Failing.as_asgi()) as address, connect(f"ws://{address}/") as client:
        await client.send("{}")
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1011
        await eventually(lambda: "Traceback" in caplog.text, "the server's log")


async def test_what_receive_raises_can_be_answered() -> None:
    """An overridden receive() gets the ValueError, and the socket stays open, on a server too."""

    class Patient(Echo):
        async def receive(
            self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
        ) -> None:
            try:
                await super().receive(text_data, bytes_data)
            except json.JSONDecodeError as error:
                await self.send_json({"error": error.msg})

    async with serving(Patient.as_asgi()) as address, connect(f"ws://{address}/") as client:
        for _ in range(2):
            await client.send("[1,")
            assert json.loads(await client.recv()) == {"error": "Expecting value"}


async def test_bad_input_can_be_answered() -> None:
    """A consumer that overrides decode_json() decides itself what broken JSON means."""

    class Patient(Echo):
        @classmethod
        async def decode_json(cls, text_data: str) -> Any:
            try:
                return await super().decode_json(text_data)
            except ValueError:
                return {"error": "not JSON"}

    async with WebsocketCommunicator(Patient, "/") as client:
        await client.send_to("{")
        assert await client.receive_json_from() == {"error": "not JSON"}


async def test_own_codec() -> None:
    """decode_json() and encode_json() may be replaced together, e.g. to carry sets."""

    class Sets(Echo):
        @classmethod
        async def decode_json(cls, text_data: str) -> Any:
            return set(json.loads(text_data))

        @classmethod
        async def encode_json(cls, content: Any) -> str:
            assert isinstance(content, set)
            return json.dumps(sorted(content))

    async with WebsocketCommunicator(Sets, "/") as client:
        await client.send_json_to([3, 1, 3])
        assert await client.receive_json_from() == [1, 3]


async def test_unencodable_value_is_an_error_of_the_handler() -> None:
    """A value that JSON cannot carry is a TypeError at send_json(), and nothing is sent."""

    class Broken(AsyncJsonWebsocketConsumer):
        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            with pytest.raises(TypeError):
                await self.send_json({1, 2})
            await self.send_json("still open")

    async with WebsocketCommunicator(Broken, "/") as client:
        await client.send_json_to(1)
        assert await client.receive_json_from() == "still open"


async def test_keyword_arguments_reach_receive_json() -> None:
    """What a subclass adds in receive() is passed on to receive_json()."""

    class Tagged(AsyncJsonWebsocketConsumer):
        async def receive(
            self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
        ) -> None:
            await super().receive(text_data, bytes_data, tag="from receive")

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            await self.send_json([content, kwargs])

    async with WebsocketCommunicator(Tagged, "/") as client:
        await client.send_json_to(5)
        assert await client.receive_json_from() == [5, {"tag": "from receive"}]
