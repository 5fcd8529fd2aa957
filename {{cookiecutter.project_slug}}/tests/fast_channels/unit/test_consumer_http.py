"""HTTP consumers: the body and the response."""

import asyncio
import time
from typing import Any

import pytest

from fast_channels.consumer import AsyncHttpConsumer
from fast_channels.testing import ApplicationCommunicator, HttpCommunicator

from ..support.http_consumers import SCOPE, Echo, Noting, request

pytestmark = pytest.mark.usefixtures("memory_layer")


async def test_response() -> None:
    """send_response() sends status, headers and body; then disconnect() runs once."""
    ends: list[str] = []
    response = await HttpCommunicator(Echo.as_asgi(ends=ends), "/", body=b"hello").get_response()
    assert response == {"status": 200, "headers": [(b"x-length", b"5")], "body": b"hello"}
    assert ends == ["disconnect"]


async def test_body_in_parts() -> None:
    """handle() gets the whole body once, however many parts it came in."""
    async with ApplicationCommunicator(Echo, SCOPE) as client:
        await client.send_input(request(b"one ", more=True))
        await client.send_input({"type": "http.request", "more_body": True})
        await client.send_input(request(b"two"))
        assert (await client.receive_output())["status"] == 200
        assert (await client.receive_output())["body"] == b"one two"
        await client.wait()


async def test_a_body_in_very_small_parts() -> None:
    """Costs what its bytes do, not what they do once more for each part: 6 s, and up to 70, of this body."""
    consumer = AsyncHttpConsumer()
    part = request(b"x" * 16, more=True)
    begin = time.process_time()
    for _ in range(131_072):
        await consumer.http_request(part)
    assert time.process_time() - begin < 2


async def test_streaming() -> None:
    """send_headers() and send_body(more_body=True) stream a response."""

    class Counting(AsyncHttpConsumer):
        async def handle(self, body: bytes) -> None:
            await self.send_headers(status=201, headers=[(b"content-type", b"text/plain")])
            for number in range(3):
                await self.send_body(str(number).encode(), more_body=True)
            await self.send_body(b"")

    response = await HttpCommunicator(Counting, "/").get_response()
    assert (response["status"], response["body"]) == (201, b"012")
    assert response["headers"] == [(b"content-type", b"text/plain")]


async def test_headers_go_out_at_once() -> None:
    """An endless response starts before it ends: the client sees each part as it is sent."""
    gate = asyncio.Event()

    class Slow(AsyncHttpConsumer):
        async def handle(self, body: bytes) -> None:
            await self.send_headers()
            await self.send_body(b"first", more_body=True)
            await gate.wait()
            await self.send_body(b"last")

    async with ApplicationCommunicator(Slow, SCOPE) as client:
        await client.send_input(request())
        assert (await client.receive_output())["type"] == "http.response.start"
        assert (await client.receive_output())["body"] == b"first"
        gate.set()
        assert (await client.receive_output())["body"] == b"last"
        await client.wait()


@pytest.mark.parametrize("body", ["text", None, bytearray(b"x")])
async def test_body_must_be_bytes(body: Any) -> None:
    """A body that is not bytes is a TypeError that names its type."""
    with pytest.raises(TypeError, match=f"must be bytes, not {type(body).__name__}"):
        await AsyncHttpConsumer().send_body(body)


async def test_order_of_headers_and_body() -> None:
    """A body before the headers, and headers twice, are RuntimeErrors."""

    class Confused(AsyncHttpConsumer):
        async def handle(self, body: bytes) -> None:
            with pytest.raises(RuntimeError, match="must come before"):
                await self.send_body(b"too early")
            await self.send_headers()
            with pytest.raises(RuntimeError, match="started already"):
                await self.send_headers()
            await self.send_body(b"done")

    assert (await HttpCommunicator(Confused, "/").get_response())["body"] == b"done"


async def test_handle_must_be_overridden() -> None:
    """A consumer without handle() raises an error that says what to override."""
    with pytest.raises(
        NotImplementedError, match=r"AsyncHttpConsumer must override handle\(body\)"
    ):
        await HttpCommunicator(AsyncHttpConsumer, "/").get_response()


@pytest.mark.parametrize("parts", [1, 4])
async def test_body_over_the_limit(parts: int) -> None:
    """A body over `max_body_size` is answered with 413 as soon as it is, and not handled."""
    ends: list[str] = []

    class Small(Echo):
        max_body_size = 10

        async def handle(self, body: bytes) -> None:
            raise AssertionError("must not be called")

    async with ApplicationCommunicator(Small.as_asgi(ends=ends), SCOPE) as client:
        for _ in range(parts):
            await client.send_input(request(b"x" * (12 // parts), more=True))
        assert (await client.receive_output())["status"] == 413
        await client.wait()
    assert ends == ["disconnect"]


async def test_body_at_the_limit() -> None:
    """A body of exactly `max_body_size` bytes is handled."""

    class Small(Echo):
        max_body_size = 10

    assert (await HttpCommunicator(Small, "/", body=b"x" * 10).get_response())["status"] == 200


async def test_handler_fails() -> None:
    """An error of handle() reaches the server, after disconnect() has run once."""
    ends: list[str] = []

    class Failing(Noting):
        async def handle(self, body: bytes) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await HttpCommunicator(Failing.as_asgi(ends=ends), "/").get_response()
    assert ends == ["disconnect"]
