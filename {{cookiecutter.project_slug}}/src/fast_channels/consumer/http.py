"""Consumers of HTTP requests: long polling, server-sent events, streaming."""

from typing import ClassVar

from ..exceptions import StopConsumer
from ..type_defs import Event, HeadersInput, encode_headers
from .base import AsyncConsumer


class AsyncHttpConsumer(AsyncConsumer):
    """Override ``handle(body)``; when the client leaves before the answer, it is cancelled.

    A body over ``max_body_size`` bytes is answered with 413 and never reaches ``handle``.
    """

    max_body_size: ClassVar[int] = 2 * 1024 * 1024
    final_type = "http.disconnect"
    disconnect_patience = 0.0
    disconnect_grace = 0.0

    _body: bytearray | None = None  # what of it has come
    _headers_sent = False
    _answered = False  # the whole response is sent
    _disconnected = False

    # To override

    async def handle(self, body: bytes) -> None:
        """Answer the request whose whole body has come; the consumer ends when this returns."""
        raise NotImplementedError(f"{type(self).__qualname__} must override handle(body)")

    async def disconnect(self) -> None:
        """The response is finished, or the client has left; called exactly once."""

    # To call

    async def send_headers(self, *, status: int = 200, headers: HeadersInput | None = None) -> None:
        """Start the response; nothing goes out before the first ``send_body()``."""
        if self._headers_sent:
            raise RuntimeError("The response has been started already")
        self._headers_sent = True
        event: Event = {"type": "http.response.start", "status": status}
        await super().send({**event, "headers": encode_headers(headers)})

    async def send_body(self, body: bytes, *, more_body: bool = False) -> None:
        if not isinstance(body, bytes):
            raise TypeError(f"A response body must be bytes, not {type(body).__name__}")
        if not self._headers_sent:
            raise RuntimeError("send_headers() must come before send_body()")
        if not more_body:
            # Servers say "disconnect" now: what the handler does after its answer may go on.
            self._answered = True
            self.disconnect_grace = AsyncConsumer.disconnect_grace
        await super().send({"type": "http.response.body", "body": body, "more_body": more_body})

    async def send_response(
        self, status: int, body: bytes, *, headers: HeadersInput | None = None
    ) -> None:
        """A whole response at once."""
        await self.send_headers(status=status, headers=headers)
        await self.send_body(body)

    # ASGI events

    async def http_request(self, message: Event) -> None:
        body = self._body = self._body or bytearray()
        body += message.get("body", b"")
        if len(body) > self.max_body_size:
            await self.send_response(413, b"The request body is too large.")
            await self._disconnect()
            raise StopConsumer
        if message.get("more_body"):
            return
        try:
            await self.handle(bytes(body))
        finally:
            await self._disconnect()
        raise StopConsumer

    async def http_disconnect(self, message: Event) -> None:
        if not self._answered:
            await self._disconnect()
        raise StopConsumer

    async def cleanup(self, error: BaseException) -> None:
        await self._disconnect()

    async def _disconnect(self) -> None:
        if not self._disconnected:
            self._disconnected = True
            await self.disconnect()
