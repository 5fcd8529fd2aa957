"""The opening request and its response as bytes: a plain request, and what a server may answer.

A plain request is one that RFC 6455, 4.2.1 leaves no question about, as nearly all are. uvicorn's HTTP
side has parsed and checked it, and put it together again with lower-case names. No I/O, no state.
"""

import binascii
import re
from collections.abc import Iterable, Sequence
from email.utils import formatdate
from http.client import responses
from typing import NamedTuple

from websockets.extensions import Extension
from websockets.utils import accept_key

from ..type_defs import Headers

# What is longer is left to the parser that names what is wrong.
MAX_BYTES = 8192
MAX_HEADERS = 100
KEY_LENGTH = 16

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TOKENS = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:[ \t]*,[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+)*")
# No part of a request, but for the tab and, in pairs, CR and LF.
_CONTROLS = bytes({*range(0x20), 0x7F} - set(b"\t\r\n"))
# In a header's value; a line break among them would let a client's text become a header.
_CONTROLS_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_BODY = (b"content-length", b"transfer-encoding")
_ONCE = (b"sec-websocket-key", b"sec-websocket-version", b"upgrade", b"origin")

# An idle connection's scope keeps its headers; of these names all connections share one object.
_NAMES = {
    name: name
    for name in (
        b"accept accept-encoding accept-language authorization cache-control connection cookie dnt "
        b"forwarded host origin pragma priority sec-fetch-dest sec-fetch-mode sec-fetch-site sec-gpc "
        b"sec-websocket-extensions sec-websocket-key sec-websocket-protocol sec-websocket-version "
        b"upgrade user-agent via x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto "
        b"x-real-ip x-request-id"
    ).split()
}


class OpeningRequest(NamedTuple):
    target: str
    headers: Headers
    key: str
    subprotocols: list[str]
    offers_extensions: bool
    # What was agreed to of the offer: the header that says so, and what then reads and writes frames.
    agreement: Sequence[tuple[bytes, bytes]] = ()
    extensions: Sequence[Extension] = ()


def parse(data: bytes) -> OpeningRequest | None:
    """None for a request that has to be refused, or about which there is any question."""
    if len(data) > MAX_BYTES or not data.endswith(b"\r\n\r\n") or _is_odd(data):
        return None
    first, *lines = data[:-4].split(b"\r\n")
    parts = first.split(b" ")
    if len(parts) != 3 or parts[0] != b"GET" or parts[2] != b"HTTP/1.1" or len(lines) > MAX_HEADERS:
        return None
    headers: Headers = []
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


def shared_name(name: bytes) -> bytes:
    """The same name, as the one object that all connections share if it is known."""
    return _NAMES.get(name, name)


def acceptance(request: OpeningRequest, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The response to a request that becomes a socket; errors as of ``head``."""
    start = (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: %b" % accept_key(request.key).encode()
    )
    return head(start, (*headers, *request.agreement))


def response(status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """A whole response to a request that goes no further; the connection is to be closed."""
    given = {name.lower() for name, _ in headers}
    defaults = (
        (b"date", formatdate(usegmt=True).encode()),
        (b"connection", b"close"),
        (b"content-length", b"%d" % len(body)),
        (b"content-type", b"text/plain; charset=utf-8"),
    )
    missing = (header for header in defaults if header[0] not in given)
    start = b"HTTP/1.1 %d %b" % (status, responses.get(status, "").encode())
    return head(start, (*headers, *missing)) + body


def head(start: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The lines before a body; ``ValueError`` for a header that may not be sent."""
    lines = [start]
    for name, value in headers:
        if TOKEN.fullmatch(name) is None or _CONTROLS_IN_VALUE.search(value) is not None:
            raise ValueError(f"Not a header that may be sent: {name!r}: {value!r}")
        lines.append(b"%b: %b" % (name.lower(), value))
    return b"\r\n".join((*lines, b"", b""))
