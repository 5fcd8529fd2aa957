"""A bound for the bodies of HTTP requests: their bytes, and the time until they are there.

Neither uvicorn nor Starlette has one: 300 MB posted to an endpoint that takes JSON stay in memory as a
whole, and a client that sends half of a body holds its endpoint for as long as it likes.
"""

import asyncio
from dataclasses import dataclass

from ..type_defs import Application, Event, Receive, Scope, Send
from .wrapper import BaseMiddleware

DISCONNECT: Event = {"type": "http.disconnect"}


class BodyLimit(BaseMiddleware):
    """Answers a body over `max_bytes` with 413, one not complete within `seconds` with 408.

    The application is told that the client has left, and whatever it sends then is dropped. A body
    whose ``Content-Length`` says too much is refused before the application is called.
    """

    def __init__(self, inner: Application, max_bytes: int = 64 * 1024, seconds: float = 30) -> None:
        super().__init__(inner)
        if max_bytes < 0 or seconds <= 0:
            raise ValueError(f"max_bytes must be 0 or more, seconds more: {max_bytes}, {seconds}")
        self.max_bytes = max_bytes
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        request = _Request(self, receive, send)
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self.max_bytes:
            await request.refuse_length()
            return
        try:
            await super().__call__(scope, request.receive, request.send)
        except Exception:
            if not request.refused:
                raise  # else it is about the client that we have sent away


@dataclass
class _Request:
    """What the application receives and sends of one request."""

    limit: BodyLimit
    inner_receive: Receive
    inner_send: Send
    refused: bool = False
    complete: bool = False
    answered: bool = False  # the response has begun
    size: int = 0
    due: float | None = None

    async def receive(self) -> Event:
        if self.complete:
            return await self.inner_receive()
        if self.refused:
            return DISCONNECT
        seconds = self.limit.seconds
        self.due = self.due or asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(self.due):
                event = await self.inner_receive()
        except TimeoutError:
            return await self._refuse(408, f"The body did not come within {seconds:g} seconds.")
        self.size += len(event.get("body", b""))
        if self.size > self.limit.max_bytes:
            return await self.refuse_length()
        self.complete = not event.get("more_body", False)
        return event

    async def send(self, event: Event) -> None:
        if not self.refused:
            self.answered = True
            await self.inner_send(event)

    async def refuse_length(self) -> Event:
        return await self._refuse(413, f"The body is longer than {self.limit.max_bytes} bytes.")

    async def _refuse(self, status: int, sentence: str) -> Event:
        """Answer, unless the application has begun to; to it the client has left."""
        self.refused = True
        if not self.answered:
            body, content_type = sentence.encode(), (b"content-type", b"text/plain; charset=utf-8")
            start: Event = {"type": "http.response.start", "status": status}
            start["headers"] = [content_type, (b"content-length", b"%d" % len(body))]
            await self.inner_send(start)
            await self.inner_send({"type": "http.response.body", "body": body})
        return DISCONNECT
