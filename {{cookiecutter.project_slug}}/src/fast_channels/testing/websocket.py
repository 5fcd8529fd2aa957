"""A WebSocket client in a test."""

import json
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from ..type_defs import Application, Event, Headers, HeadersInput
from .application import ApplicationCommunicator
from .errors import ConnectionRefused, UnexpectedEvent
from .scopes import connection_scope
from .server_rules import WebsocketRules

DEFAULT_CLOSE_CODE = 1000
# RFC 6455, 7.1.5: the code of a connection that ended without a closing handshake.
ABNORMAL_CLOSURE = 1006
INTERNAL_ERROR = 1011
# How long an application may take to fail after it has refused.
REFUSAL_SECONDS = 1.0


class WebsocketCommunicator(ApplicationCommunicator):
    """One WebSocket connection to `application`.

        async with WebsocketCommunicator(ChatConsumer, "/ws/chat/lobby?name=Ann") as client:
            await client.send_json_to({"type": "message", "text": "hello"})
            assert (await client.receive_json_from())["text"] == "hello"

    `async with` connects, raising `ConnectionRefused` if it may not, and disconnects at the end.
    `headers` are pairs of str or bytes, or a mapping. When the application closes the connection,
    it receives `websocket.disconnect` with its own code, as from a server. What it sends after the
    client has left is an OSError, as the ASGI specification has it since 2.4.

    `response_headers` are those of the application's answer, an accept or a denial response: a list
    of pairs of bytes. If the application closes with 1011 because it failed, its exception is raised
    in the place of that event, which can be received after it.
    """

    def __init__(
        self,
        application: Application,
        path: str,
        headers: HeadersInput | Mapping[str, str] | None = None,
        subprotocols: Iterable[str] | None = None,
        spec_version: str | None = None,
    ) -> None:
        scope = connection_scope(
            path,
            headers,
            spec_version=spec_version or "2.4",
            type="websocket",
            scheme="ws",
            subprotocols=list(subprotocols or ()),
            extensions={"websocket.http.response": {}},
        )
        super().__init__(application, scope)
        self.response_headers: Headers = []
        self._rules = WebsocketRules()
        self._disconnect_sent = False
        self._left = False

    async def __aenter__(self) -> Self:
        try:
            connected, code = await self.connect()
            if not connected:
                await self._until(self._is_done, REFUSAL_SECONDS)
                self._raise_unseen_error()
                raise ConnectionRefused(self.scope["path"], code if isinstance(code, int) else None)
        except BaseException:
            await self.stop(exceptions=False)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc is None:
                await self.disconnect()
        finally:
            await self.stop(exceptions=False)
            self._show_unseen_error(exc)

    async def connect(self, timeout: float = 1) -> tuple[bool, str | int | None]:
        """Ask for the connection: `(True, chosen subprotocol or None)`, or `(False, close code)`.

        The close code is 1000 unless the application gives one. If it refuses with a whole HTTP
        response (the ASGI extension `websocket.http.response`), the status takes its place.
        """
        await self.send_input({"type": "websocket.connect"})
        event = await self._next_output(timeout, "websocket.accept or websocket.close")
        if event["type"] == "websocket.close":
            return False, _close_code(event)
        self.response_headers = list(event.get("headers") or ())
        if event["type"] == "websocket.accept":
            return True, event.get("subprotocol")
        status: int = event["status"]
        while (await self._next_output(timeout, "the response's body")).get("more_body"):
            pass
        return False, status

    async def send_to(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Send one frame: exactly one of a str and bytes."""
        if (text_data is None) == (bytes_data is None):
            raise ValueError("send_to() takes either text_data or bytes_data")
        if text_data is not None:
            _require(text_data, str, "text_data")
            await self.send_input({"type": "websocket.receive", "text": text_data})
        else:
            _require(bytes_data, bytes, "bytes_data")
            await self.send_input({"type": "websocket.receive", "bytes": bytes_data})

    async def send_json_to(self, data: Any) -> None:
        """Send `data` as JSON in a text frame; `ValueError` for NaN and Infinity, which JSON lacks."""
        await self.send_to(text_data=json.dumps(data, allow_nan=False))

    async def receive_from(self, timeout: float = 1) -> str | bytes:
        """The next frame; anything else that the application sends is an `UnexpectedEvent`."""
        event = await self._next_output(timeout, "a WebSocket frame")
        if event["type"] != "websocket.send":
            await self._unexpected("a WebSocket frame", event, timeout)
        text: str | None = event.get("text")
        return text if text is not None else bytes(event["bytes"])

    async def receive_json_from(self, timeout: float = 1) -> Any:
        """The next frame, which must be text, decoded from JSON."""
        frame = await self.receive_from(timeout)
        if not isinstance(frame, str):
            raise UnexpectedEvent("JSON in a text frame", {"bytes": frame})
        return json.loads(frame)

    async def disconnect(self, code: int = 1000, timeout: float = 1) -> None:
        """Leave, and wait until the application has returned.

        An application that has ended already is left in peace, but an exception that the test has
        not seen yet is raised.
        """
        if self._is_done():
            self._raise_unseen_error()
            return
        if not self._disconnect_sent:
            await self._send_disconnect(code)
        await self._wait(timeout)
        self._raise_unseen_error()

    # The server's reactions

    def _sent(self, event: Event) -> None:
        if self._left and self.scope["asgi"]["spec_version"] >= "2.4":
            raise OSError(f"the client has left, and {event.get('type')} cannot be sent")
        was_open = self._rules.is_open
        self._rules.check(event)
        super()._sent(event)
        if event["type"] == "websocket.close":
            self._closed_by_application(_close_code(event) if was_open else ABNORMAL_CLOSURE)
        elif event["type"] == "websocket.http.response.body" and not event.get("more_body"):
            self._closed_by_application(ABNORMAL_CLOSURE)

    def _closed_by_application(self, code: int) -> None:
        if not self._disconnect_sent:
            self._disconnect_sent = True
            self._input.put_nowait({"type": "websocket.disconnect", "code": code, "reason": ""})

    async def _send_disconnect(self, code: int) -> None:
        self._disconnect_sent = self._left = True
        await self.send_input({"type": "websocket.disconnect", "code": code, "reason": ""})

    async def _before(self, event: Event, timeout: float) -> None:
        if event["type"] == "websocket.close" and event.get("code") == INTERNAL_ERROR:
            await self._until(self._is_done, timeout)
            self._raise_unseen_error()


def _close_code(event: Event) -> int:
    code = event.get("code")
    return DEFAULT_CLOSE_CODE if code is None else int(code)


def _require(value: object, kind: type, name: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be {kind.__name__}, not {type(value).__name__}")
