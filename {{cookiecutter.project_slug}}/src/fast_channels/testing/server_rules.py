"""What a server does around an application, by the rules of uvicorn and `fast_channels.server`. No I/O.

`connection_scope` fills in a scope as they do. Each `check` takes the events of one connection in their
order and raises `UnexpectedEvent` for one with which the application would fail in production.
"""

import re
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote, unquote

from ..consumer.websocket import CLOSE_CODES, MOST_REASON
from ..exceptions import FastChannelsError
from ..type_defs import Event, HeadersInput, Scope, encode_headers

SERVER = ("testserver", 80)
CLIENT = ("testclient", 50000)

# What a client leaves as it is when it sends a URL: everything but spaces, quotes and non-ASCII.
URL_CHARACTERS = "!$%&'()*+,/:;=?@[]~-._"

# RFC 9110, 5.6.2, and the control characters with which a value could become another header.
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BYTES = (bytes, bytearray, memoryview)

_CONNECTING = ("websocket.accept", "websocket.close", "websocket.http.response.start")
_OPEN = ("websocket.send", "websocket.close")
_RESPONDING = ("websocket.http.response.body",)


class UnexpectedEvent(FastChannelsError, AssertionError):
    """The application sent what the test, or a server, does not take; `event` is what it sent."""

    def __init__(self, expected: str, event: Event) -> None:
        super().__init__(f"expected {expected} from the application, but it sent {event!r:.500}")
        self.event = event


def connection_scope(
    path: str,
    headers: HeadersInput | Mapping[str, str] | None,
    *,
    spec_version: str,
    **fields: Any,
) -> Scope:
    """A scope for `path`, which may carry a query string (`/room/?name=Ann`)."""
    target, _, query = path.partition("#")[0].partition("?")
    raw_path = quote(target, safe=URL_CHARACTERS)
    pairs = cast(HeadersInput, headers.items() if isinstance(headers, Mapping) else headers)
    return {
        "asgi": {"version": "3.0", "spec_version": spec_version},
        "http_version": "1.1",
        "path": unquote(raw_path),
        "raw_path": raw_path.encode("ascii"),
        "query_string": quote(query, safe=URL_CHARACTERS).encode("ascii"),
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in encode_headers(pairs)],
        "client": CLIENT,
        "server": SERVER,
        "state": {},
        **fields,
    }


class WebsocketRules:
    """For the events of one WebSocket."""

    def __init__(self) -> None:
        self._next: tuple[str, ...] = _CONNECTING

    @property
    def is_open(self) -> bool:
        return self._next is _OPEN

    @property
    def is_over(self) -> bool:
        return not self._next

    def check(self, event: Event) -> None:
        following: tuple[str, ...] = ()
        match _kind(event, self._next):
            case "websocket.accept":
                _check_accept(event)
                following = _OPEN
            case "websocket.send":
                _check_frame(event)
                following = _OPEN
            case "websocket.close":
                _check_close(event, is_sent=self.is_open)
            case "websocket.http.response.start":
                _check_start(event)
                following = _RESPONDING
            case _:
                _require(isinstance(event.get("body"), _BYTES), "a body of bytes", event)
                following = _RESPONDING if event.get("more_body") else ()
        self._next = following


class HttpRules:
    """For the response to one request."""

    def __init__(self, method: str) -> None:
        self._next: tuple[str, ...] = ("http.response.start",)
        self._has_body = method != "HEAD"
        self._missing: int | None = None  # bytes until the announced length

    def check(self, event: Event) -> None:
        if _kind(event, self._next) == "http.response.start":
            _check_start(event)
            self._missing = _announced(event) if self._has_body else None
            self._next = ("http.response.body",)
            return
        body, more = event.get("body", b""), event.get("more_body", False)
        _require(isinstance(body, _BYTES), "a body of bytes", event)
        if self._missing is not None:
            self._missing -= len(body)
            expected = "as many bytes of body as its Content-Length (none with 204 and 304)"
            _require(self._missing >= 0 and (more or self._missing == 0), expected, event)
        if not more:
            self._next = ()


def _require(fulfilled: bool, expected: str, event: Event) -> None:
    if not fulfilled:
        raise UnexpectedEvent(expected, event)


def _kind(event: Event, expected: tuple[str, ...]) -> str:
    kind = event.get("type")
    _require(kind in expected, " or ".join(expected) or "nothing after the end", event)
    return str(kind)


def _check_accept(event: Event) -> None:
    _check_headers(event)
    subprotocol = event.get("subprotocol")
    if subprotocol is not None:
        is_token = isinstance(subprotocol, str) and re.fullmatch(r"[!-~]*", subprotocol)
        _require(bool(is_token), "a subprotocol (str, a token)", event)


def _check_headers(event: Event) -> None:
    expected = "headers in pairs of bytes, without control characters"
    try:
        for name, value in event.get("headers", ()):
            _require(isinstance(name, bytes) and isinstance(value, bytes), expected, event)
            _require(bool(_TOKEN.fullmatch(name)) and not _CONTROLS.search(value), expected, event)
    except (TypeError, ValueError):  # no pairs
        raise UnexpectedEvent(expected, event) from None


def _check_start(event: Event) -> None:
    status = event.get("status")
    _require(isinstance(status, int) and 100 <= status < 600, "a status from 100 to 599", event)
    _check_headers(event)


def _announced(event: Event) -> int | None:
    """How long the body has to be, if something says so."""
    length = None if event["status"] not in (204, 304) else 0
    for name, value in event.get("headers", ()):
        if name.lower() == b"transfer-encoding" and value.lower() == b"chunked":
            return None
        if name.lower() == b"content-length":
            _require(value.isdigit(), "a Content-Length (digits)", event)
            length = int(value)
    return length


def _check_frame(event: Event) -> None:
    text, data = event.get("text"), event.get("bytes")
    fits = isinstance(text, str) if data is None else text is None and isinstance(data, _BYTES)
    _require(fits, "a frame with either text (str) or bytes", event)
    _require(text is None or _is_unicode(text), "text of valid Unicode", event)


def _check_close(event: Event, *, is_sent: bool) -> None:
    code, reason = event.get("code", 1000), event.get("reason")
    is_int = isinstance(code, int) and not isinstance(code, bool)
    _require(code is None or is_int, "a close code (int)", event)
    if not is_sent:
        return
    ranges = "1000 to 1003, 1007 to 1014, 3000 to 4999"
    fits = code is None or code in CLOSE_CODES
    _require(fits, f"a close code that may be sent ({ranges})", event)
    if reason:
        _require(isinstance(reason, str) and _is_unicode(reason), "a close reason (str)", event)
        _require(code is not None, "a close code with the close reason", event)
        expected = f"a close reason of at most {MOST_REASON} bytes in UTF-8"
        _require(len(reason.encode()) <= MOST_REASON, expected, event)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
