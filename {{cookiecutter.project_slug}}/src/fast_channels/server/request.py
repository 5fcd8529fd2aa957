"""The opening request and its response as bytes: a plain request is read here, any other by ``websockets``.

A plain one is one that RFC 6455, 4.2.1 leaves no question about, as nearly all are. uvicorn's HTTP side
has parsed and checked it, and put it together again with lower-case names. What is not plain takes longer
than all else in a short connection: ``ServerProtocol`` names what is wrong, and negotiates extensions. Of
it only what is documented (https://websockets.readthedocs.io/en/stable/reference/sansio/), but for the
list ``extensions``. No I/O, no state.
"""

import functools
import logging
import re
from collections.abc import Iterable, Sequence
from email.utils import formatdate
from http import HTTPStatus
from http.client import responses
from typing import Any, NamedTuple
from urllib.parse import unquote

from websockets.extensions import Extension, ServerExtensionFactory
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.utils import accept_key

from ..type_defs import TOKEN, Headers, is_header

_LOGGER = logging.getLogger("uvicorn.error")
_NOT_A_REQUEST = b"A request for a WebSocket must be well formed and have no body."

MAX_BYTES = 8192  # of a plain request, which has at most 100 headers
# Possessive quantifiers, so that what does not fit costs no more than what does.
_PLAIN = re.compile(
    rb"GET ([!-~]++) HTTP/1\.1\r\n((?:%b:[^\x00-\x08\x0a-\x1f\x7f]*+\r\n){0,100}+)\r\n"
    % TOKEN.pattern
)
_HEADER = re.compile(rb"([^:]+):[ \t]*([^\r]*)\r\n")
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")  # 16 bytes in Base64


class OpeningRequest(NamedTuple):
    target: str
    headers: Headers
    key: str
    subprotocols: list[str]
    # What was agreed to of the offer: the header that says so, and what then reads and writes frames.
    agreement: Sequence[tuple[bytes, bytes]] = ()
    extensions: Sequence[Extension] = ()

    def scope(self, root: str) -> dict[str, Any]:
        """What of an ASGI scope the request says, below this root path."""
        raw_path, _, query = self.target.partition("?")
        return {
            "root_path": root,
            "path": root + unquote(raw_path),
            "raw_path": (root + raw_path).encode("ascii"),
            "query_string": query.encode("ascii"),
            "headers": self.headers,
            "subprotocols": self.subprotocols,
        }


def read(data: bytes, extensions: Sequence[ServerExtensionFactory]) -> OpeningRequest | bytes:
    """The request, with what of these extensions was agreed; or the whole response that refuses it."""
    return parse(data, takes_extensions=bool(extensions)) or negotiate(data, extensions)


def parse(data: bytes, *, takes_extensions: bool = False) -> OpeningRequest | None:
    """None for a request that has to be refused, or about which there is any question."""
    match = _PLAIN.fullmatch(data) if len(data) <= MAX_BYTES else None
    if match is None:
        return None
    headers: Headers = []
    values: dict[bytes, bytes] = {}
    for name, value in _HEADER.findall(match[2]):
        name, value = _shared(name), value.rstrip(b" \t")
        headers.append((name, value))
        values[name] = b"%b, %b" % (values[name], value) if name in values else value
    key = values.get(b"sec-websocket-key", b"")
    offered = values.get(b"sec-websocket-protocol")
    subprotocols = [] if offered is None else _list(offered)
    if (
        values.get(b"upgrade", b"").lower() != b"websocket"
        or b"upgrade" not in _list(values.get(b"connection", b"").lower())
        or values.get(b"sec-websocket-version") != b"13"
        or not _KEY.fullmatch(key)
        or not all(map(TOKEN.fullmatch, subprotocols))
        or b"," in values.get(b"origin", b"")  # there are two
        or b"content-length" in values
        or b"transfer-encoding" in values
        or (takes_extensions and b"sec-websocket-extensions" in values)
    ):
        return None
    return OpeningRequest(
        target=match[1].decode(),
        headers=headers,
        key=key.decode(),
        subprotocols=[one.decode() for one in subprotocols],
    )


def _list(value: bytes) -> list[bytes]:
    return [one.strip(b" \t") for one in value.split(b",")]


@functools.lru_cache(maxsize=256)
def _shared(name: bytes) -> bytes:
    """The same name, as one object: an idle connection's scope keeps its headers."""
    return name


def negotiate(data: bytes, extensions: Sequence[ServerExtensionFactory]) -> OpeningRequest | bytes:
    protocol = ServerProtocol(extensions=extensions, logger=_LOGGER)
    protocol.receive_data(data)
    event = next(iter(protocol.events_received()), None)
    if not isinstance(event, Request):
        too_long = b"".join(protocol.data_to_send())
        return too_long or response(HTTPStatus.BAD_REQUEST, _NOT_A_REQUEST)
    answer = protocol.accept(event)
    if answer.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
        protocol.send_response(answer)
        return b"".join(protocol.data_to_send())
    offered = event.headers.get_all("Sec-WebSocket-Protocol")
    agreed = answer.headers.get_all("Sec-WebSocket-Extensions")
    return OpeningRequest(
        target=event.path,
        headers=[
            (_shared(name.encode()), value.encode("latin-1"))
            for name, value in event.headers.raw_items()
        ],
        key=event.headers["Sec-WebSocket-Key"],
        subprotocols=[one.strip() for value in offered for one in value.split(",")],
        agreement=[(b"sec-websocket-extensions", value.encode()) for value in agreed],
        extensions=protocol.extensions,
    )


def acceptance(request: OpeningRequest, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The response to a request that becomes a socket; errors as of ``head``."""
    start = (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: %b" % accept_key(request.key).encode()
    )
    return head(start, (*headers, *request.agreement))


def response(status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """A whole response to a request that goes no further; the connection is to be closed."""
    defaults = {
        b"date": formatdate(usegmt=True).encode(),
        b"connection": b"close",
        b"content-length": b"%d" % len(body),
        b"content-type": b"text/plain; charset=utf-8",
    }
    for name, _ in headers:
        defaults.pop(name.lower(), None)
    start = b"HTTP/1.1 %d %b" % (status, responses.get(status, "").encode())
    return head(start, (*headers, *defaults.items())) + body


def head(start: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The lines before a body; ``ValueError`` for a header that may not be sent."""
    lines = [start]
    for name, value in headers:
        if not is_header(name, value):
            raise ValueError(f"Not a header that may be sent: {name!r}: {value!r}")
        lines.append(b"%b: %b" % (name.lower(), value))
    return b"\r\n".join((*lines, b"", b""))
