"""Which web pages may open a WebSocket, judged by the Origin header.

Browsers send the header (RFC 6455, 4.1; RFC 6454) and let any page open a socket to any server, with
the user's cookies: a server that relies on them must check the origin itself.
"""

import logging
from collections.abc import Iterable

from ..type_defs import Application, Receive, Scope, Send
from .base import BaseMiddleware
from .denier import WebsocketDenier
from .origin_patterns import parse_origin, parse_pattern

logger = logging.getLogger(__name__)

ANY = "*"
SAME = "self"


class OriginValidator(BaseMiddleware):
    """Lets a WebSocket through to `application` if its origin matches one of `allowed_origins`.

    | pattern                    | allows                                                     |
    |----------------------------|------------------------------------------------------------|
    | `example.com`              | this host, any scheme, any port                            |
    | `example.com:8443`         | this host and port, any scheme                             |
    | `.example.com`             | this host and its subdomains                               |
    | `https://example.com`      | this scheme and host, the scheme's default port            |
    | `http://.example.com:8000` | this scheme and port, this host and its subdomains         |
    | `null`                     | pages without an origin, e.g. sandboxed frames             |
    | `self`                     | pages of the host that is connected to (the Host header)   |
    | `*`                        | everything, also no Origin header: the check is off        |

    Otherwise a missing, repeated or malformed header is refused (HTTP 403), with a line in the log.
    Hosts are compared without case, and in Punycode. Connections other than WebSockets pass: for
    them the same-origin policy of browsers applies (Django Channels raises ValueError).

    A pattern of another form, no pattern, or a str in place of the list is a `ValueError`.
    """

    def __init__(self, application: Application, allowed_origins: Iterable[str]) -> None:
        super().__init__(application)
        self.allowed_origins = _checked(allowed_origins)
        self._patterns = [
            parse_pattern(text) for text in self.allowed_origins if text not in (ANY, SAME)
        ]
        self._denier = WebsocketDenier()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket" or self.is_allowed(scope):
            await self.inner(scope, receive, send)
            return
        await self._denier(scope, receive, send)

    def is_allowed(self, scope: Scope) -> bool:
        """Whether the connection's Origin header matches; logs the refusal."""
        if ANY in self.allowed_origins:
            return True
        headers = [value for name, value in scope["headers"] if name.lower() == b"origin"]
        if len(headers) != 1:
            logger.warning("WebSocket refused: %d Origin headers instead of one", len(headers))
            return False
        text = headers[0].decode("latin-1")
        if not self.valid_origin(text) and not self._is_own(text, scope):
            logger.warning("WebSocket refused: origin %.200r is not allowed", text)
            return False
        return True

    def valid_origin(self, origin: str) -> bool:
        """Whether the text of an Origin header matches a pattern."""
        parsed = parse_origin(origin)
        return parsed is not None and any(pattern.matches(parsed) for pattern in self._patterns)

    def _is_own(self, origin: str, scope: Scope) -> bool:
        parsed = parse_origin(origin)
        if SAME not in self.allowed_origins or parsed is None or parsed.scheme is None:
            return False
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        return len(hosts) == 1 and parse_origin(f"{parsed.scheme}://{hosts[0]}") == parsed


def _checked(allowed_origins: Iterable[str]) -> tuple[str, ...]:
    if isinstance(allowed_origins, str | bytes):
        raise ValueError(f"allowed_origins must be a list of patterns, not {allowed_origins!r}")
    patterns = tuple(allowed_origins)
    if not patterns:
        raise ValueError('allowed_origins is empty: name the origins, or "*" to allow all')
    return patterns
