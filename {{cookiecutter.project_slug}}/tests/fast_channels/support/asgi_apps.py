"""Small ASGI applications for the tests of communicators and middleware."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from fast_channels.middleware import BodyLimit
from fast_channels.type_defs import Receive, Scope, Send


@pytest.fixture(autouse=True)
async def no_task_left() -> AsyncIterator[None]:
    """No test here leaves a task behind."""
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() - before <= {asyncio.current_task()}


class Echo(AsyncWebsocketConsumer):
    """Returns each frame; closes with 4001 when it is told to; `crash` raises."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "close":
            await self.close(4001)
        elif text_data == "crash":
            raise ZeroDivisionError
        else:
            await self.send(text_data=text_data, bytes_data=bytes_data)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """A WebSocket application without any library, which repeats frames until the end."""
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


async def length_of_body(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads a body to its end, keeps all of it, and answers with its length."""
    parts = []
    while (event := await receive())["type"] == "http.request":
        parts.append(event.get("body", b""))
        if not event.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % sum(map(len, parts))})


async def echo_and_length(scope: Scope, receive: Receive, send: Send) -> None:
    """Both: for a socket `echo`, for a request `length_of_body`, bounded."""
    await (echo if scope["type"] == "websocket" else BodyLimit(length_of_body))(
        scope, receive, send
    )


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Never sends, never returns."""
    await asyncio.Event().wait()


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts, then fails."""
    await receive()
    await send({"type": "websocket.accept"})
    raise ZeroDivisionError("the application's own")


def replying(*events: dict[str, Any]) -> Any:
    """An application that answers the first event with `events`, then waits for the end."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        for event in events:
            await send(event)
        await receive()

    return application


async def silent_after_accept(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts, then neither sends nor returns."""
    await receive()
    await send({"type": "websocket.accept"})
    await asyncio.Event().wait()
