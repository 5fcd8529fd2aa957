"""What a server refuses when an application sends it: the rules of uvicorn and `fast_channels.server`.

Each `check` takes the events of one connection in their order and raises `UnexpectedEvent` for one
with which the application would fail in production. No I/O.
"""

import re
from collections.abc import Callable
from typing import Any

from ..type_defs import Event
from .errors import UnexpectedEvent

# RFC 9110, 5.6.2, and the control characters with which a value could become another header.
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

# RFC 6455, 7.4, with the codes that IANA has registered since; 5.5: at most 125 bytes with the code.
CLOSE_CODES = frozenset((*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)))
MAX_REASON = 123

_CONNECTING = ("websocket.accept", "websocket.close", "websocket.http.response.start")
_OPEN = ("websocket.send", "websocket.close")
_RESPONDING = ("websocket.http.response.body",)


class WebsocketRules:
    """For the events of one WebSocket."""

    def __init__(self) -> None:
        self._next: tuple[str, ...] = _CONNECTING

    @property
    def is_open(self) -> bool:
        return self._next is _OPEN

    def check(self, event: Event) -> None:
        kind = _kind(event, self._next)
        _WEBSOCKET[kind](event)
        if kind == "websocket.close" and self.is_open:
            _check_close(event)
        if kind == "websocket.accept":
            self._next = _OPEN
        elif kind == "websocket.http.response.start" or event.get("more_body"):
            self._next = _RESPONDING
        elif kind != "websocket.send":
            self._next = ()


class HttpRules:
    """For the response to one request."""

    def __init__(self, method: str) -> None:
        self._next: tuple[str, ...] = ("http.response.start",)
        self._has_body = method != "HEAD"
        self._missing: int | None = None  # bytes until the announced length

    def check(self, event: Event) -> None:
        if _kind(event, self._next) == "http.response.start":
            _check_start(event)
            self._missing = _announced(event)
            self._next = ("http.response.body",)
            return
        body = event.get("body", b"")
        _require(isinstance(body, _BYTES), "a body of bytes", event)
        more = event.get("more_body", False)
        if self._has_body and self._missing is not None:
            self._missing -= len(body)
            expected = "as many bytes of body as its Content-Length (none with 204 and 304)"
            _require(self._missing >= 0 and (more or self._missing == 0), expected, event)
        if not more:
            self._next = ()


_BYTES = (bytes, bytearray, memoryview)


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
        _require(isinstance(subprotocol, str), "a subprotocol (str)", event)
        _require(bool(re.fullmatch(r"[!-~]*", subprotocol)), "a subprotocol (a token)", event)


def _check_headers(event: Event) -> None:
    expected = "headers in pairs of bytes, without control characters"
    try:
        for name, value in event.get("headers", ()):
            _require(isinstance(name, bytes) and isinstance(value, bytes), expected, event)
            _require(bool(_TOKEN.fullmatch(name)), expected, event)
            _require(not _CONTROLS.search(value), expected, event)
    except (TypeError, ValueError):
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


def _check_body(event: Event) -> None:
    _require(isinstance(event.get("body"), _BYTES), "a body of bytes", event)


def _check_frame(event: Event) -> None:
    text, data = event.get("text"), event.get("bytes")
    fits = isinstance(text, str) if data is None else text is None and isinstance(data, _BYTES)
    _require(fits, "a frame with either text (str) or bytes", event)
    _require(text is None or _is_unicode(text), "text of valid Unicode", event)


def _check_code(event: Event) -> None:
    code = event.get("code")
    is_int = isinstance(code, int) and not isinstance(code, bool)
    _require(code is None or is_int, "a close code (int)", event)


def _check_close(event: Event) -> None:
    code, reason = event.get("code", 1000), event.get("reason")
    ranges = "1000 to 1003, 1007 to 1014, 3000 to 4999"
    _require(
        code is None or code in CLOSE_CODES, f"a close code that may be sent ({ranges})", event
    )
    if reason:
        _require(isinstance(reason, str) and _is_unicode(reason), "a close reason (str)", event)
        _require(code is not None, "a close code with the close reason", event)
        expected = f"a close reason of at most {MAX_REASON} bytes in UTF-8"
        _require(len(reason.encode()) <= MAX_REASON, expected, event)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_WEBSOCKET: dict[str, Callable[[Any], None]] = {
    "websocket.accept": _check_accept,
    "websocket.close": _check_code,
    "websocket.send": _check_frame,
    "websocket.http.response.start": _check_start,
    "websocket.http.response.body": _check_body,
}
