"""What a server does around an application, by the rules of uvicorn and `fast_channels.server`. No I/O.

`connection_scope` fills in a scope as they do. `ServerRules.check` takes the events of one connection in
their order and raises `UnexpectedEvent` for one with which the application would fail in production.
"""

import re
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote, unquote

from ..consumer.websocket import CLOSE_CODES, MOST_REASON
from ..exceptions import FastChannelsError
from ..type_defs import Event, HeadersInput, Scope, encode_headers, is_header

SERVER = ("testserver", 80)
CLIENT = ("testclient", 50000)

# What a client leaves as it is when it sends a URL: everything but spaces, quotes and non-ASCII.
URL_CHARACTERS = "!$%&'()*+,/:;=?@[]~-._"

_BYTES = (bytes, bytearray, memoryview)
OPEN = ("websocket.send", "websocket.close")
# What may come first, by the scope's type, and what after each event; nothing after those that are not here.
_FIRST = {
    "websocket": ("websocket.accept", "websocket.close", "websocket.http.response.start"),
    "http": ("http.response.start",),
}
_FOLLOWING = {
    "websocket.accept": OPEN,
    "websocket.send": OPEN,
    "websocket.http.response.start": ("websocket.http.response.body",),
    "http.response.start": ("http.response.body",),
}


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


class ServerRules:
    """For what one application sends; `expected` are the types that may come next, at the end none."""

    def __init__(self, scope: Scope) -> None:
        self.expected = _FIRST[scope["type"]]
        self._counts_body = scope["type"] == "http" and scope["method"] != "HEAD"
        self._missing: int | None = None  # bytes of an HTTP body until its announced length

    def check(self, event: Event) -> None:
        kind = event.get("type")
        expected = " or ".join(self.expected) or "nothing after the end"
        _require(kind in self.expected, expected, event)
        following = _FOLLOWING.get(str(kind), ())
        match kind:
            case "websocket.accept":
                _check_headers(event)
                subprotocol = event.get("subprotocol") or ""
                is_token = isinstance(subprotocol, str) and re.fullmatch(r"[!-~]*", subprotocol)
                _require(is_token, "a subprotocol (str, a token)", event)
            case "websocket.send":
                text, data = event.get("text"), event.get("bytes")
                fits = _is_text(text) if data is None else text is None and isinstance(data, _BYTES)
                _require(fits, "a frame with either text (str of valid Unicode) or bytes", event)
            case "websocket.close":
                _check_close(event, is_sent=self.expected is OPEN)
            case "websocket.http.response.start" | "http.response.start":
                status = event.get("status")
                has_status = isinstance(status, int) and 100 <= status < 600
                _require(has_status, "a status from 100 to 599", event)
                _check_headers(event)
                self._missing = _announced(event) if self._counts_body else None
            case _:
                self._check_body(event)
                following = self.expected if event.get("more_body") else ()
        self.expected = following

    def _check_body(self, event: Event) -> None:
        # Of a WebSocket's denial, servers take no event without one.
        body = event.get("body", b"" if event["type"] == "http.response.body" else None)
        _require(isinstance(body, _BYTES), "a body of bytes", event)
        if self._missing is not None:
            self._missing -= len(body)
            fits = self._missing == 0 or (self._missing > 0 and event.get("more_body"))
            expected = "as many bytes of body as its Content-Length (none with 204 and 304)"
            _require(fits, expected, event)


def _require(fulfilled: object, expected: str, event: Event) -> None:
    if not fulfilled:
        raise UnexpectedEvent(expected, event)


def _check_headers(event: Event) -> None:
    try:
        fits = all(is_header(name, value) for name, value in event.get("headers", ()))
    except (TypeError, ValueError):  # no pairs
        fits = False
    _require(fits, "headers in pairs of bytes, without control characters", event)


def _announced(event: Event) -> int | None:
    """How long the body has to be, if something says so."""
    headers = {name.lower(): value for name, value in event.get("headers", ())}
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        return None
    length = headers.get(b"content-length", b"0" if event["status"] in (204, 304) else None)
    _require(length is None or length.isdigit(), "a Content-Length (digits)", event)
    return None if length is None else int(length)


def _check_close(event: Event, *, is_sent: bool) -> None:
    code, reason = event.get("code", 1000), event.get("reason")
    is_int = isinstance(code, int) and not isinstance(code, bool)
    fits = code is None or (is_int and (code in CLOSE_CODES or not is_sent))
    ranges = "1000 to 1003, 1007 to 1014, 3000 to 4999"
    _require(fits, f"a close code that may be sent (int: {ranges})", event)
    if is_sent and reason:
        fits = code is not None and _is_text(reason, MOST_REASON)
        expected = f"a close reason (str) of at most {MOST_REASON} bytes in UTF-8, with a code"
        _require(fits, expected, event)


def _is_text(value: object, most: float = float("inf")) -> bool:
    """A str of valid Unicode, of at most so many bytes in UTF-8."""
    try:
        return isinstance(value, str) and len(value.encode()) <= most
    except UnicodeEncodeError:
        return False
