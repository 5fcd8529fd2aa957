"""Which web pages may open a WebSocket, judged by the Origin header.

Browsers send the header (RFC 6455, 4.1; RFC 6454) and let any page open a socket to any server, with
the user's cookies: a server that relies on them must check the origin itself.
"""

import ipaddress
import logging
import re
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

from ..type_defs import Application, Receive, Scope, Send
from ..utils import is_same_domain
from .wrapper import BaseMiddleware

logger = logging.getLogger(__name__)

ANY = "*"
SAME = "self"
NULL = "null"

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

# RFC 6454, 6.2: scheme "://" host [":" port] and nothing else, no user, path or query. The host is empty
# where the scheme knows none, as in "file://".
_SHAPE = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?"
    r"(?P<host>\[[0-9a-f:.]+\]|[^\s/:?#@\[\]\\%*]*)"
    r"(?::(?P<port>[0-9]{1,5}))?",
    re.IGNORECASE,
)


class WebsocketDenier:
    """Closes the WebSocket before it is accepted; a server answers HTTP 403.

    Used like a consumer: the class, an instance, or what `as_asgi()` returns.
    """

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> Self:
        return cls(**initkwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise ValueError(f"WebsocketDenier takes a websocket connection, not {scope['type']!r}")
        await receive()  # the connect event comes first, whatever the application decides
        await send({"type": "websocket.close"})


class OriginValidator(BaseMiddleware):
    """Lets a WebSocket through to `application` if its origin matches one of `allowed_origins`.

    | pattern                    | allows                                                     |
    |----------------------------|------------------------------------------------------------|
    | `example.com`              | this host, any scheme, any port                            |
    | `example.com:8443`         | this host and port, any scheme                             |
    | `.example.com`             | this host and its subdomains                               |
    | `https://example.com`      | this scheme and host, the scheme's default port            |
    | `http://.example.com:8000` | this scheme and port, this host and its subdomains         |
    | `file://`                  | this scheme, of apps whose pages have no host              |
    | `null`                     | pages without an origin, e.g. sandboxed frames and, in     |
    |                            | browsers of today, files: any site can make such a page    |
    | `self`                     | pages of the host that is connected to (the Host header)   |
    | `*`                        | everything, also no Origin header: the check is off        |

    Otherwise a missing, repeated or malformed header is refused (HTTP 403), with a line in the log.
    Hosts are compared without case, and in Punycode. Connections other than WebSockets pass: for
    them the same-origin policy of browsers applies (Django Channels raises ValueError).

    A pattern of another form, no pattern, or a str in place of the list is a `ValueError`.
    """

    def __init__(self, application: Application, allowed_origins: Iterable[str]) -> None:
        super().__init__(application)
        if isinstance(allowed_origins, str | bytes):
            raise ValueError(f"allowed_origins must be a list of patterns, not {allowed_origins!r}")
        self.allowed_origins = tuple(allowed_origins)
        if not self.allowed_origins:
            raise ValueError('allowed_origins is empty: name the origins, or "*" to allow all')
        self._patterns = [
            parse_pattern(text) for text in self.allowed_origins if text not in (ANY, SAME)
        ]
        self._denier = WebsocketDenier()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        allowed = scope["type"] != "websocket" or self.is_allowed(scope)
        await (self.inner if allowed else self._denier)(scope, receive, send)

    def is_allowed(self, scope: Scope) -> bool:
        """Whether the connection's Origin header matches; logs the refusal."""
        if ANY in self.allowed_origins:
            return True
        origins = _values(scope, b"origin")
        if len(origins) != 1:
            logger.warning(
                "WebSocket refused: %d Origin headers instead of one; a client that is no browser "
                "has to send an allowed origin itself",
                len(origins),
            )
            return False
        origin = parse_origin(origins[0])
        if origin and any(pattern.matches(origin) for pattern in self._patterns):
            return True
        if origin and SAME in self.allowed_origins and _is_own(origin, scope):
            return True
        logger.warning("WebSocket refused: origin %.200r is not allowed", origins[0])
        return False


def _values(scope: Scope, header: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == header]


def _is_own(origin: "Origin", scope: Scope) -> bool:
    hosts = [parse_origin(f"{origin.scheme}://{host}") for host in _values(scope, b"host")]
    return bool(origin.host) and hosts == [origin]


class Origin(NamedTuple):
    """A parsed origin or, where None allows any, a pattern. `null` has neither scheme nor host: ""."""

    scheme: str | None
    host: str  # a pattern's, with a leading dot, includes its subdomains
    port: int | None

    def matches(self, origin: "Origin") -> bool:
        """Whether this pattern allows `origin`."""
        return (
            self.scheme in (None, origin.scheme)
            and self.port in (None, origin.port)
            and (origin.host == self.host or is_same_domain(origin.host, self.host))
        )


def parse_origin(text: str) -> Origin | None:
    """The origin in a header, its default port filled in; None if it is malformed."""
    origin = _parsed(text)
    is_pattern = origin is None or origin.scheme is None or origin.host.startswith(".")
    return None if is_pattern else origin


def parse_pattern(text: object) -> Origin:
    """A pattern of `allowed_origins`; `ValueError` if it is none."""
    pattern = _parsed(text) if isinstance(text, str) else None
    if pattern is None:
        raise ValueError(
            f'{text!r} is not an origin pattern; expected "*", "self", "null", a scheme without '
            f'hosts such as "file://", or [scheme://]host[:port], where ".host" includes its '
            f"subdomains and an IPv6 address is in brackets"
        )
    return pattern


def _parsed(text: str) -> Origin | None:
    if text == NULL:
        return Origin("", "", None)
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        return None
    scheme = shape["scheme"].lower() if shape["scheme"] else None
    if not shape["host"]:
        has_hosts = scheme is None or scheme in DEFAULT_PORTS or shape["port"]
        return None if has_hosts else Origin(scheme, "", None)
    host = _normalized(shape["host"])
    port = int(shape["port"]) if shape["port"] else DEFAULT_PORTS.get(scheme or "")
    if host in (None, NULL) or (port is not None and not 0 < port < 65536):
        return None
    return Origin(scheme, host, port)


def _normalized(host: str) -> str | None:
    """Lower case, Punycode, the short form of an IPv6 address; None if it is no host."""
    try:
        if host.startswith("["):
            return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
        name = host.removeprefix(".")
        return host[: -len(name)] + name.encode("idna").decode("ascii").lower() if name else None
    except ValueError:  # UnicodeError is one
        return None
