"""WebSocket consumers of JSON."""

import json
from typing import Any

import pytest

from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.testing import WebsocketCommunicator

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
    """A binary frame or broken JSON is a ValueError: the client is closed with 1011."""
    client = WebsocketCommunicator(Echo, "/")
    assert await client.connect() == (True, None)
    await client.send_to(**frame)
    assert await client.receive_output() == {"type": "websocket.close", "code": 1011}
    with pytest.raises(ValueError, match=r"No text section|Expecting"):
        await client.wait()


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
