"""The request that uvicorn's HTTP side hands over: already checked by its parser, and put together.

Parsed here for a third of the time of the ``websockets`` parser, which checks each line again.
"""

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeaderValue
from websockets.http11 import Request

# What is longer, or has a body, is left to the parser that names what is wrong.
MAX_BYTES = 8192
MAX_HEADERS = 100
_BODY = (b"content-length", b"transfer-encoding")

# An idle connection's scope keeps its headers; of these names all connections share one object.
_NAMES = {
    name: name
    for name in (
        b"accept",
        b"accept-encoding",
        b"accept-language",
        b"authorization",
        b"cache-control",
        b"connection",
        b"cookie",
        b"dnt",
        b"forwarded",
        b"host",
        b"origin",
        b"pragma",
        b"priority",
        b"sec-fetch-dest",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"sec-gpc",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
        b"upgrade",
        b"user-agent",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-real-ip",
        b"x-request-id",
    )
}


def parse(data: bytes) -> Request | None:
    """A ``GET`` request without a body, in one piece; None for whatever else this may be."""
    if len(data) > MAX_BYTES or not data.endswith(b"\r\n\r\n"):
        return None
    first, *lines = data[:-4].split(b"\r\n")
    parts = first.split(b" ")
    if len(parts) != 3 or parts[0] != b"GET" or not parts[1] or not parts[1].isascii():
        return None
    if len(lines) > MAX_HEADERS:
        return None
    headers = Headers()
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or name in _BODY:
            return None
        try:
            headers[name.decode("ascii")] = value.strip(b" \t").decode("latin-1")
        except (UnicodeDecodeError, InvalidHeaderValue):
            return None
    return Request(parts[1].decode(), headers, "GET", parts[2].decode("latin-1"))


def share_names(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The same headers with names that are known as one object each."""
    return [(_NAMES.get(name, name), value) for name, value in headers]
