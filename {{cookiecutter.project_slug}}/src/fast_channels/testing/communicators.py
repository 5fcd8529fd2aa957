"""One run of an ASGI application, with the server's side in the hands of a test."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, TypedDict

from ..consumer.base import ABNORMAL_CLOSURE
from ..consumer.handlers import strict
from ..consumer.websocket import INTERNAL_ERROR, NORMAL_CLOSURE
from ..exceptions import FastChannelsError
from ..type_defs import Application, Event, Headers, HeadersInput, Scope, as_application
from .server_rules import OPEN, ServerRules, UnexpectedEvent, connection_scope

REFUSAL_SECONDS = 1.0  # for an application to fail after it has refused
STOP_SECONDS = 5.0  # for the clean-up of a cancelled application


class ApplicationCommunicator:
    """Feeds events to an application and collects those that it sends.

    The application starts with the first call that needs it, in the event loop of that call. What
    it has sent is handed out in order; after the last of it, its exception is raised to the test by
    whichever method is called next. An event that a server would refuse is an `UnexpectedEvent`, in
    the application and in the test. All times are seconds.

    Semantics as documented for Django Channels 4 (topics/testing), with these differences: a
    timeout of `receive_output` leaves the application running, and `async with` stops it at the end.
    """

    def __init__(self, application: Application, scope: Scope) -> None:
        self.application = as_application(application)
        self.scope = scope
        self._input: asyncio.Queue[Event] = asyncio.Queue()
        self._output: deque[Event] = deque()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._refused: UnexpectedEvent | None = None  # the application may have caught it
        self._error_seen = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, failure: BaseException | None, _: object) -> None:
        await self.stop(exceptions=failure is None)
        if failure is not None and not self._error_seen and (error := self._error) is not None:
            failure.add_note(f"{self._name} failed as well: {error!r}")

    async def send_input(self, message: Event) -> None:
        """Give the application one event; what it has not asked for yet, waits.

        An application that has failed raises its exception here; one that has returned does not
        hear the event, as with a real server.
        """
        self._start()
        if self._is_done() or not self._error_seen:
            self._raise_error()
        self._input.put_nowait(message)

    async def receive_output(self, timeout: float = 1) -> Event:
        """The next event that the application sends.

        Raises `TimeoutError` if there is none in time, or the application has returned.
        """
        return await self._next_output(timeout, "an event")

    async def receive_nothing(self, timeout: float = 0.1, interval: float = 0.01) -> bool:
        """Whether the application sends nothing for `timeout` seconds; what it sends is kept.

        `interval` is there for code that comes from Django Channels; nothing is polled here.
        """
        return await self._peek(timeout) is None

    async def wait(self, timeout: float = 1) -> None:
        """Wait for the application to return, and raise its exception if it failed.

        If it is late it is cancelled, and `TimeoutError` raised.
        """
        await self._until_done(timeout)
        self._raise_error()

    async def stop(self, exceptions: bool = True) -> None:
        """Cancel the application if it runs, and wait for its end.

        `exceptions` says whether to raise the exception with which it has ended, if none was raised yet.
        """
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task], timeout=STOP_SECONDS)
        if not self._task.done():
            raise TimeoutError(f"{self._name} runs on {STOP_SECONDS:g} s after its cancellation")
        if exceptions:
            self._raise_unseen_error()

    # For subclasses

    async def _next_output(self, timeout: float, what: str) -> Event:
        if await self._peek(timeout) is None:
            if self._is_done():
                raise TimeoutError(f"waited for {what} from {self._name}, which has returned")
            raise TimeoutError(f"waited {timeout:g} s for {what} from {self._name}")
        return self._output.popleft()

    async def _whole_body(self, timeout: float) -> bytes:
        """Of an HTTP response; `timeout` is for each part."""
        body, more = b"", True
        while more:
            event = await self._next_output(timeout, "the response's body")
            body += bytes(event.get("body", b""))
            more = event.get("more_body", False)
        return body

    async def _peek(self, timeout: float) -> Event | None:
        """The next event, which stays; None if there is none in time. Behind the last, the exception."""
        await self._until(lambda: bool(self._output or self._refused or self._is_done()), timeout)
        if self._output:
            return self._output[0]
        self._raise_error()
        return None

    async def _until_done(self, timeout: float) -> None:
        if not await self._until(self._is_done, timeout):
            await self.stop(exceptions=False)
            late = TimeoutError(f"waited {timeout:g} s for {self._name} to return")
            raise late from self._error

    def _sent(self, event: Event) -> None:
        """The application sends `event`; a server's reaction to it belongs here."""
        self._output.append(event)
        self._changed.set()

    async def _until(self, condition: Callable[[], bool], timeout: float) -> bool:
        self._start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        return condition()

    def _is_done(self) -> bool:
        return self._task is not None and self._task.done()

    def _raise_error(self) -> None:
        if (error := self._error) is not None:
            self._error_seen = True
            raise error

    def _raise_unseen_error(self) -> None:
        if not self._error_seen:
            self._raise_error()

    async def _raise_late_error(self, timeout: float) -> None:
        """Its last event is there; it may still fail."""
        await self._until(self._is_done, timeout)
        self._raise_unseen_error()

    # Internals

    @property
    def _error(self) -> BaseException | None:
        task = self._task
        has_ended = task is not None and task.done() and not task.cancelled()
        error = task.exception() if task is not None and has_ended else None
        return self._refused or error

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"communicator of {self._name}")

    async def _run(self) -> None:
        strict.set(True)
        try:
            await self.application(self.scope, self._input.get, self._send)
        finally:
            self._changed.set()

    async def _send(self, event: Event) -> None:
        try:
            self._sent(event)
        except UnexpectedEvent as refused:
            self._refused = self._refused or refused
            self._changed.set()
            raise

    @property
    def _name(self) -> str:
        return f"the application at {self.scope.get('path', self.scope.get('type'))}"


class ConnectionRefused(FastChannelsError, AssertionError):
    """The application refused the WebSocket. `code` is as `WebsocketCommunicator.connect` gives."""

    def __init__(self, path: str, code: int | None) -> None:
        super().__init__(f"the application refused the WebSocket {path} with code {code}")
        self.code = code


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
        self._rules = ServerRules(scope)
        self._disconnect_sent = False

    async def __aenter__(self) -> Self:
        try:
            connected, code = await self.connect()
            if not connected:
                await self._raise_late_error(REFUSAL_SECONDS)
                raise ConnectionRefused(self.scope["path"], code if isinstance(code, int) else None)
        except BaseException:
            await self.stop(exceptions=False)
            raise
        return self

    async def __aexit__(self, kind: object, failure: BaseException | None, _: object) -> None:
        try:
            if failure is None:
                await self.disconnect()
        finally:
            await super().__aexit__(kind, failure, _)

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
        await self._whole_body(timeout)
        return False, event["status"]

    async def send_to(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Send one frame: exactly one of a str and bytes."""
        if (text_data is None) == (bytes_data is None):
            raise ValueError("send_to() takes either text_data or bytes_data")
        if not isinstance(text_data, str | None) or not isinstance(bytes_data, bytes | None):
            raise TypeError(
                f"text_data must be str, bytes_data bytes: {text_data!r}, {bytes_data!r}"
            )
        key, data = ("bytes", bytes_data) if text_data is None else ("text", text_data)
        await self.send_input({"type": "websocket.receive", key: data})

    async def send_json_to(self, data: Any) -> None:
        """Send `data` as JSON in a text frame; `ValueError` for NaN and Infinity, which JSON lacks."""
        await self.send_to(text_data=json.dumps(data, allow_nan=False))

    async def receive_from(self, timeout: float = 1) -> str | bytes:
        """The next frame; anything else that the application sends is an `UnexpectedEvent`."""
        event = await self._next_output(timeout, "a WebSocket frame")
        if event["type"] != "websocket.send":
            await self._raise_late_error(timeout if event["type"] == "websocket.close" else 0)
            raise UnexpectedEvent("a WebSocket frame", event)
        text: str | None = event.get("text")
        return bytes(event["bytes"]) if text is None else text

    async def receive_json_from(self, timeout: float = 1) -> Any:
        """The next frame, which must be text, decoded from JSON."""
        frame = await self.receive_from(timeout)
        if not isinstance(frame, str):
            raise UnexpectedEvent("JSON in a text frame", {"bytes": frame})
        return json.loads(frame)

    async def disconnect(self, code: int = NORMAL_CLOSURE, timeout: float = 1) -> None:
        """Leave, and wait until the application has returned.

        An application that has ended already is left in peace, but an exception that the test has
        not seen yet is raised.
        """
        if not self._is_done():
            if not self._disconnect_sent:
                self._disconnect_sent = True
                await self.send_input({"type": "websocket.disconnect", "code": code, "reason": ""})
            await self._until_done(timeout)
        self._raise_unseen_error()

    # The server's reactions

    def _sent(self, event: Event) -> None:
        has_left = self._disconnect_sent and self._rules.expected
        if has_left and self.scope["asgi"]["spec_version"] >= "2.4":
            raise OSError(f"the client has left, and {event.get('type')} cannot be sent")
        was_open = self._rules.expected is OPEN
        self._rules.check(event)
        super()._sent(event)
        if not self._rules.expected and not self._disconnect_sent:
            self._disconnect_sent = True
            code = _close_code(event) if was_open else ABNORMAL_CLOSURE
            self._input.put_nowait({"type": "websocket.disconnect", "code": code, "reason": ""})

    async def _peek(self, timeout: float) -> Event | None:
        event = await super()._peek(timeout)
        if event and event["type"] == "websocket.close" and event.get("code") == INTERNAL_ERROR:
            await self._raise_late_error(timeout)
        return event


def _close_code(event: Event) -> int:
    code = event.get("code")
    return NORMAL_CLOSURE if code is None else int(code)


class HttpResponse(TypedDict):
    """`body` is the whole of it, also where the application sent it in parts."""

    status: int
    headers: Headers
    body: bytes


class HttpCommunicator(ApplicationCommunicator):
    """One HTTP request to `application`.

        response = await HttpCommunicator(app, "/rooms?limit=5").get_response()
        assert response["status"] == 200

    `body` is bytes, or str in UTF-8; `headers` are pairs of str or bytes, or a mapping, and are sent
    as they are: no Host or Content-Length is added.
    """

    def __init__(
        self,
        application: Application,
        path: str,
        *,
        method: str = "GET",
        body: bytes | str = b"",
        headers: HeadersInput | Mapping[str, str] | None = None,
    ) -> None:
        http = {"type": "http", "scheme": "http", "method": method.upper()}
        scope = connection_scope(path, headers, spec_version="2.3", **http)
        super().__init__(application, scope)
        self._body = body.encode() if isinstance(body, str) else body
        self._request_sent = False
        self._rules = ServerRules(scope)

    async def send_request(self) -> None:
        """Send the request without waiting for the response; a second call does nothing."""
        if not self._request_sent:
            self._request_sent = True
            await self.send_input({"type": "http.request", "body": self._body, "more_body": False})

    async def get_response(self, timeout: float = 1) -> HttpResponse:
        """The whole response, once the application has returned.

        `timeout` is for each part of it, and for the application to return after the last.
        """
        await self.send_request()
        start = await self._next_output(timeout, "http.response.start")
        body = await self._whole_body(timeout)
        # As a server tells the application once the response is out.
        self._input.put_nowait({"type": "http.disconnect"})
        await self.wait(timeout)
        headers: Headers = list(start.get("headers") or ())
        return {"status": start["status"], "headers": headers, "body": body}

    def _sent(self, event: Event) -> None:
        self._rules.check(event)
        super()._sent(event)
