"""`BodyLimit`: bodies that are too long or too slow never reach an endpoint, FastAPI's included."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from fast_channels.middleware import BodyLimit
from fast_channels.type_defs import Event, Scope

from ..support.asgi_apps import length_of_body
from ..support.uvicorn_server import serving


class Text(BaseModel):
    text: str


class Requested:
    """A request to an application: the parts of its body as they come, and what is answered."""

    def __init__(self, *parts: bytes, headers: dict[str, str] | None = None) -> None:
        self.events = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        self.sent: list[Event] = []
        encoded = [(k.encode(), v.encode()) for k, v in (headers or {}).items()]
        self.scope: Scope = {"type": "http", "headers": encoded, "method": "POST", "path": "/"}

    def complete(self) -> "Requested":
        self.events[-1]["more_body"] = False
        return self

    async def receive(self) -> Event:
        if self.events:
            return self.events.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, event: Event) -> None:
        self.sent.append(event)

    async def to(self, app: Callable[..., Awaitable[None]]) -> tuple[int, bytes]:
        async with asyncio.timeout(10):
            await app(self.scope, self.receive, self.send)
        start, *bodies = self.sent
        return start["status"], b"".join(event["body"] for event in bodies)


async def test_up_to_the_limit() -> None:
    """In one piece or in several."""
    app = BodyLimit(length_of_body, max_bytes=10)
    assert await Requested(b"0123456789").complete().to(app) == (200, b"10")
    assert await Requested(b"01234", b"56789").complete().to(app) == (200, b"10")


async def test_over_the_limit() -> None:
    """Without a declared length it is counted."""
    app = BodyLimit(length_of_body, max_bytes=10)
    refusal = (413, b"The body is longer than 10 bytes.")
    assert await Requested(b"0123456789a").complete().to(app) == refusal
    assert await Requested(b"01234", b"56789", b"a").to(app) == refusal


@pytest.mark.parametrize("length", ["11", "9" * 5000])
async def test_a_declared_length_over_the_limit(length: str) -> None:
    """The application is not called."""

    async def app(*_: object) -> None:
        raise AssertionError

    limited = BodyLimit(app, max_bytes=10)
    assert (await Requested(headers={"content-length": length}).to(limited))[0] == 413


async def test_too_slow() -> None:
    """However small it is; the time is that of the whole body."""
    app = BodyLimit(length_of_body, seconds=0.1)
    refusal = (408, b"The body did not come within 0.1 seconds.")
    assert await Requested(b"0").to(app) == refusal


async def test_an_error_after_a_refusal_is_no_news() -> None:
    """What an application makes of a client that has left is not its fault."""

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        while (await receive())["type"] == "http.request":
            pass
        raise ConnectionError("the client has left")

    assert (await Requested(b"01").to(BodyLimit(app, max_bytes=1)))[0] == 413


async def test_an_error_before_is() -> None:
    """It goes on to the server, which logs it."""

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Requested(b"0").to(BodyLimit(app))


async def test_a_response_that_has_begun_goes_on() -> None:
    """It cannot be taken back; the body ends with a disconnect."""

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        while (await receive())["type"] == "http.request":
            pass

    request = Requested(b"01")
    await BodyLimit(app, max_bytes=1)(request.scope, request.receive, request.send)
    assert [event["type"] for event in request.sent] == ["http.response.start"]


@pytest.mark.parametrize("options", [{"max_bytes": -1}, {"seconds": 0}])
def test_options(options: dict[str, Any]) -> None:
    """An impossible limit is an error at once."""
    with pytest.raises(ValueError, match="must be"):
        BodyLimit(length_of_body, **options)


async def test_fastapi(caplog: pytest.LogCaptureFixture) -> None:
    """JSON and streamed bodies: 413 in one sentence, no traceback, and the connection goes on."""
    app = FastAPI()
    app.add_middleware(BodyLimit, max_bytes=1000)

    @app.post("/json")
    async def json(text: Text) -> int:
        return len(text.text)

    @app.post("/stream")
    async def stream(request: Request) -> StreamingResponse:
        parts = [part async for part in request.stream()]
        return StreamingResponse(iter(parts))

    chunked = "2000\r\n" + "a" * 0x2000 + "\r\n0\r\n\r\n"
    with caplog.at_level(logging.WARNING):
        async with serving(app) as address:
            reader, writer = await asyncio.open_connection(*address.split(":"))
            for path in ("json", "stream"):
                writer.write(f"POST /{path} HTTP/1.1\r\nHost: a\r\n".encode())
                writer.write(f"Transfer-Encoding: chunked\r\n\r\n{chunked}".encode())
                assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(35) == b"The body is longer than 1000 bytes."
            writer.close()
    assert not caplog.records
