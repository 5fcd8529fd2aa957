"""Consumers of WebSocket connections.

A socket is CONNECTING until it is accepted or refused, OPEN, then CLOSED: by the client, by
``close()``, or by an error (close code 1011). Sending on a CLOSED socket does nothing, nor does
accepting one whose client has left: it may leave at any moment, and its handlers cannot know.
Accepting or sending out of order is a bug of the caller and raises ``RuntimeError``.
"""

import asyncio
import contextlib
import enum
import logging
from collections.abc import Iterable
from typing import Any, ClassVar

from ..exceptions import AcceptConnection, ChannelLayerUnavailable, DenyConnection, StopConsumer
from ..layers.throttled import ThrottledWarning
from ..type_defs import Event, HeadersInput, encode_headers
from . import json_text
from .base import AsyncConsumer, Socket, events_of
from .handlers import strict

logger = logging.getLogger(__name__)

NORMAL_CLOSURE = 1000
GOING_AWAY = 1001
UNSUPPORTED_DATA = 1003
INVALID_DATA = 1007
INTERNAL_ERROR = 1011  # RFC 6455 section 7.4.1
OVERLOADED = 4008  # private range: this consumer fell behind and its policy is to close

# What an endpoint may send (RFC 6455, 7.4, and IANA's registry of close codes).
CLOSE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
MOST_REASON = 123  # bytes of UTF-8: what a control frame holds beside the code (RFC 6455, 5.5)

cut_reasons = ThrottledWarning(logger, "%d close reason(s) cut to 123 bytes, the last: %.123s")
unreadable = ThrottledWarning(
    logger, "%d socket(s) closed for a frame that is no JSON, the last of %s: %.200s"
)


class State(enum.Enum):
    CONNECTING = enum.auto()
    OPEN = enum.auto()
    CLOSED = enum.auto()


OPEN = State.OPEN  # spares a look into the enum for each frame


def check_close_code(code: object) -> int:
    """``ValueError`` for what no endpoint may send."""
    if type(code) is not int or code not in CLOSE_CODES:
        raise ValueError(
            f"A close code must be 1000 to 1003, 1007 to 1014 or 3000 to 4999, not {code!r:.100}"
        )
    return code


def _close_reason(reason: object) -> str:
    """``reason``, cut to what a close frame holds; where a test runs the application, an error."""
    if not isinstance(reason, str):
        raise ValueError(f"A close reason must be a str, not {reason!r:.100}")
    data = reason.encode(errors="replace")  # a lone surrogate is no UTF-8
    if len(data) > MOST_REASON:
        if strict.get():
            raise ValueError(
                f"A close reason holds at most {MOST_REASON} bytes of UTF-8, not {len(data)}: {reason!r:.100}"
            )
        cut_reasons.add(reason)
    return data[:MOST_REASON].decode(errors="ignore")


class AsyncWebsocketConsumer(AsyncConsumer):
    """Override ``connect``, ``receive`` and ``disconnect``.

    ``groups`` are joined before ``connect()`` and left before ``disconnect()``.
    """

    groups: ClassVar[Iterable[str]] = ()
    final_type = "websocket.disconnect"

    _state = State.CONNECTING
    _disconnected = False  # disconnect() has been called

    @classmethod
    async def serve(cls, websocket: Socket, /, **arguments: Any) -> None:
        """Be the endpoint of a WebSocket of FastAPI's or Starlette's, until it has ended.

            @router.websocket("/chat/{room}")
            async def chat(websocket: WebSocket, room: str, user: CurrentUser) -> None:
                await ChatConsumer.serve(websocket, room=room, user=user)

        ``arguments`` go to ``__init__``, as those of ``as_asgi``. ``RuntimeError`` if the WebSocket was
        accepted, closed or received from before. What a handler raises is raised here.
        """
        await cls(**arguments)(*events_of(websocket))

    # To override

    async def connect(self) -> None:
        """Call ``accept()``, or to refuse ``close()`` or ``deny()``; the default accepts."""
        await self.accept()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """One frame from the client; the other argument is None."""

    async def disconnect(self, code: int) -> None:
        """The socket is closed, by the client, the server or ``close()``; called exactly once."""

    # To call

    async def accept(
        self, subprotocol: str | None = None, headers: HeadersInput | None = None
    ) -> None:
        # Servers differ in what they make of an accept after the client has left.
        if self.client_has_left and self._state is not OPEN:
            self._state = State.CLOSED
            return
        if self._state is not State.CONNECTING:
            raise RuntimeError(f"accept() needs a CONNECTING socket, not {self._state.name}")
        self._state = State.OPEN
        event: Event = {"type": "websocket.accept", "subprotocol": subprotocol}
        await self._emit({**event, "headers": encode_headers(headers)})

    async def deny(
        self, status: int = 403, body: bytes | str = b"", headers: HeadersInput | None = None
    ) -> None:
        """Refuse by an HTTP answer; where the server cannot, its own 403 (ASGI: websocket.http.response)."""
        if self._state is OPEN:
            raise RuntimeError("deny() needs a CONNECTING socket, not OPEN")
        answer = "websocket.http.response"
        if self._state is State.CLOSED or answer not in (self.scope.get("extensions") or {}):
            await self.close()
            return
        self._state = State.CLOSED
        content = body.encode() if isinstance(body, str) else body
        pairs = encode_headers(headers)
        await self._emit({"type": f"{answer}.start", "status": status, "headers": pairs})
        await self._emit({"type": f"{answer}.body", "body": content, "more_body": False})

    async def send(  # type: ignore[override]
        self,
        text_data: str | None = None,
        bytes_data: bytes | None = None,
        close: bool | int = False,
    ) -> None:
        """Send one text or one binary frame; ``close`` then closes, True meaning code 1000."""
        if (text_data is None) == (bytes_data is None):
            raise ValueError("send() takes either text_data or bytes_data")
        state = self._state
        if state is OPEN:
            key, data = ("bytes", bytes_data) if text_data is None else ("text", text_data)
            try:
                await self._asgi_send({"type": "websocket.send", key: data})
            except (OSError, RuntimeError) as error:
                await self._close_or_raise(error)
        elif state is State.CONNECTING:
            raise RuntimeError("send() needs an accepted socket; call accept() first")
        if close:
            await self.close(close)

    async def close(self, code: int | bool | None = None, reason: str | None = None) -> None:
        """Close (code 1000 by default), or refuse while connecting; closing twice is no error.

        ``ValueError`` for a code that no endpoint may send: 1000 to 1003, 1007 to 1014 and 3000 to
        4999 are allowed (any number while connecting, when no code is sent). Of a ``reason`` 123 bytes
        of UTF-8 are sent; a longer one is cut, and a ``ValueError`` in a test with a communicator.
        """
        if code is None or code is True:
            code = NORMAL_CLOSURE
        if type(code) is not int:
            raise ValueError(f"A close code must be an int, not {code!r:.100}")
        if self._state is State.CLOSED:
            return
        if self._state is OPEN:
            check_close_code(code)
        event: Event = {"type": "websocket.close", "code": code}
        if reason is not None:
            event["reason"] = _close_reason(reason)
        self._state = State.CLOSED  # before the event, so that nobody else closes meanwhile
        await self._emit(event)

    # ASGI events

    async def websocket_connect(self, message: Event) -> None:
        for group in self.groups:
            await self.channel_layer.group_add(group, self.channel_name)
        try:
            await self.connect()
        except AcceptConnection:
            await self.accept()
        except DenyConnection:
            await self.close()

    async def websocket_receive(self, message: Event) -> None:
        if self._state is State.CLOSED:
            return
        try:
            if (text := message.get("text")) is not None:
                await self.receive(text_data=text)
            else:
                await self.receive(bytes_data=message["bytes"])
        except ValueError as error:
            await self._refuse_frame(message, error)

    async def websocket_disconnect(self, message: Event) -> None:
        await self._disconnect(message.get("code", 1005))
        raise StopConsumer

    async def cleanup(self, error: BaseException) -> None:
        if not isinstance(error, Exception):  # cancelled: the server shuts down
            await self._disconnect(GOING_AWAY)
            return
        code = NORMAL_CLOSURE if isinstance(error, StopConsumer) else INTERNAL_ERROR
        try:
            # Before accept() the server answers an error with HTTP 500 and logs it, or Starlette otherwise.
            if code == INTERNAL_ERROR and self._state is not State.CONNECTING:
                what = (type(self).__qualname__, self.channel_name, code, error)
                logger.error("A handler of %s failed; its socket %s is closed with %d: %r", *what)
            if code == NORMAL_CLOSURE or self._state is OPEN:
                await self.close(code)
        finally:
            await self._disconnect(code)

    async def overflowed(self) -> None:
        """Close with 4008; if the client reads nothing, so that this cannot be sent, just end."""
        try:
            async with asyncio.timeout(self.overflow_grace):
                await self.close(OVERLOADED, "messages came faster than they were handled")
        except TimeoutError:
            await self._disconnect(OVERLOADED)
            raise StopConsumer from None

    # Internals

    async def _emit(self, event: Event) -> None:
        """Send an event of the protocol, unless the client has left."""
        try:
            await self._asgi_send(event)
        except (OSError, RuntimeError) as error:
            await self._close_or_raise(error)

    async def _close_or_raise(self, error: OSError | RuntimeError) -> None:
        """CLOSED if the client has left; else raise the server's error.

        Servers raise OSError for a client that has left, or swallow an accept then, and take what
        follows for out of order.
        """
        if not isinstance(error, OSError):
            for _ in range(3):  # turns of the loop, until the reader has heard of it
                await asyncio.sleep(0)
            if not self.client_has_left:
                raise error
        self._state = State.CLOSED

    async def _refuse_frame(self, message: Event, error: ValueError) -> None:
        """Close if ``receive()`` raised because of the frame, and the client is to blame."""
        raise error

    async def _disconnect(self, code: int) -> None:
        if self._disconnected:
            return
        self._disconnected = True
        self._state = State.CLOSED
        for group in self.groups if self.has_layer else ():
            # What cannot be left now is left when the channel is closed.
            with contextlib.suppress(ChannelLayerUnavailable):
                await self.channel_layer.group_discard(group, self.channel_name)
        await self.disconnect(code)


class AsyncJsonWebsocketConsumer(AsyncWebsocketConsumer):
    """Text frames hold JSON; override ``receive_json``, and the codec if another one is wanted.

    A client that sends something else is the client's fault: its socket is closed with 1007, or 1003
    for a binary frame, and counted in the log. In a test, a communicator raises the ``ValueError``.
    """

    _unreadable: ValueError | None = None  # what the last frame was refused with

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Decode a text frame; ``ValueError`` for a binary one, and that of ``decode_json``."""
        try:
            if text_data is None:
                raise ValueError("No text section for incoming WebSocket frame: JSON comes as text")
            content = await self.decode_json(text_data)
        except ValueError as error:
            self._unreadable = error
            raise
        await self.receive_json(content, **kwargs)

    async def _refuse_frame(self, message: Event, error: ValueError) -> None:
        if error is not self._unreadable or strict.get():
            raise error
        unreadable.add(type(self).__qualname__, error)
        code = UNSUPPORTED_DATA if message.get("text") is None else INVALID_DATA
        await self.close(code, "expected JSON in a text frame")

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """One decoded frame from the client."""

    async def send_json(self, content: Any, close: bool | int = False) -> None:
        await self.send(text_data=await self.encode_json(content), close=close)

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        """``ValueError`` for what is no JSON, or nested deeper than the interpreter can follow.

        NaN and Infinity are no JSON, nor is a number too large for a float, such as 1e400.
        """
        return json_text.decode(text_data)

    @classmethod
    async def encode_json(cls, content: Any) -> str:
        """``ValueError`` for NaN and Infinity, which JSON does not have; ``TypeError`` for other values."""
        return json_text.encode(content)
