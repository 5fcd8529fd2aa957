"""A plain opening request, as nearly all are: one that RFC 6455, 4.2.1 leaves no question about.

uvicorn's HTTP side has parsed and checked it, and put it together again with lower-case names.
"""

import binascii
import re
from http import HTTPStatus
from typing import NamedTuple

# What is longer is left to the parser that names what is wrong.
MAX_BYTES = 8192
MAX_HEADERS = 100
KEY_LENGTH = 16

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TOKENS = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:[ \t]*,[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+)*")
# No part of a request, but for the tab and, in pairs, CR and LF.
_CONTROLS = bytes({*range(0x20), 0x7F} - set(b"\t\r\n"))
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_BODY = (b"content-length", b"transfer-encoding")
_ONCE = (b"sec-websocket-key", b"sec-websocket-version", b"upgrade", b"origin")

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


class OpeningRequest(NamedTuple):
    target: str
    headers: list[tuple[bytes, bytes]]
    key: str
    subprotocols: list[str]
    offers_extensions: bool


def parse(data: bytes) -> OpeningRequest | None:
    """None for a request that has to be refused, or about which there is any question."""
    if len(data) > MAX_BYTES or not data.endswith(b"\r\n\r\n") or _is_odd(data):
        return None
    first, *lines = data[:-4].split(b"\r\n")
    parts = first.split(b" ")
    if len(parts) != 3 or parts[0] != b"GET" or parts[2] != b"HTTP/1.1" or len(lines) > MAX_HEADERS:
        return None
    headers: list[tuple[bytes, bytes]] = []
    values: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        value = value.strip(b" \t")
        known = _NAMES.get(name)
        if not colon or (known is None and not TOKEN.fullmatch(name)):
            return None
        name = known or name
        if name in _BODY or (name in _ONCE and name in values):
            return None
        headers.append((name, value))
        values[name] = b"%b, %b" % (values[name], value) if name in values else value
    key = values.get(b"sec-websocket-key", b"")
    subprotocols = values.get(b"sec-websocket-protocol")
    if (
        values.get(b"upgrade", b"").lower() != b"websocket"
        or b"upgrade" not in _list(values.get(b"connection", b"").lower())
        or values.get(b"sec-websocket-version") != b"13"
        or not _KEY.fullmatch(key)
        or len(binascii.a2b_base64(key)) != KEY_LENGTH
        or (subprotocols is not None and not _TOKENS.fullmatch(subprotocols))
        or not parts[1].isascii()
    ):
        return None
    return OpeningRequest(
        target=parts[1].decode(),
        headers=headers,
        key=key.decode(),
        subprotocols=[one.decode() for one in _list(subprotocols)] if subprotocols else [],
        offers_extensions=b"sec-websocket-extensions" in values,
    )


def _is_odd(data: bytes) -> bool:
    """It holds a control character, or a line break that is not CR LF."""
    breaks = data.count(b"\r\n")
    if data.count(b"\r") != breaks or data.count(b"\n") != breaks:
        return True
    return len(data.translate(None, _CONTROLS)) != len(data)


def _list(value: bytes) -> list[bytes]:
    return [one.strip(b" \t") for one in value.split(b",")]


def refusal(status: HTTPStatus, sentence: str) -> bytes:
    """A whole response to a request that goes no further; the connection is to be closed."""
    body = sentence.encode()
    return (
        b"HTTP/1.1 %d %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
        b"connection: close\r\n\r\n%b" % (status, status.phrase.encode(), len(body), body)
    )


def share_names(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The same headers with names that are known as one object each."""
    return [(_NAMES.get(name, name), value) for name, value in headers]
