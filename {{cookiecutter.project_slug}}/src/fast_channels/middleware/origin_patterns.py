"""Origins and the patterns for them: parsing and comparison, no I/O."""

import ipaddress
import re
from dataclasses import dataclass

from ..utils import is_same_domain

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
NULL = "null"

# RFC 6454, 6.2: scheme "://" host [":" port] and nothing else, no user, path or query.
_SHAPE = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?"
    r"(?P<host>\[[0-9a-f:.]+\]|[^\s/:?#@\[\]\\%*]+)"
    r"(?::(?P<port>[0-9]{1,5}))?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Origin:
    """A parsed origin; the opaque origin `null` is one without scheme and port."""

    scheme: str | None
    host: str
    port: int | None


@dataclass(frozen=True)
class OriginPattern:
    """What an origin must be; None allows any. A host with a leading dot includes subdomains."""

    scheme: str | None
    host: str
    port: int | None

    def matches(self, origin: Origin) -> bool:
        if origin.scheme is None or self.host == NULL:
            return origin.scheme is None and self.host == NULL
        return (
            self.scheme in (None, origin.scheme)
            and self.port in (None, origin.port)
            and is_same_domain(origin.host, self.host)
        )


def parse_origin(text: str) -> Origin | None:
    """The origin in a header, its default port filled in; None if it is malformed."""
    if text == NULL:
        return Origin(None, NULL, None)
    parts = _parts(text)
    if parts is None or parts.scheme is None or parts.host.startswith("."):
        return None
    return Origin(parts.scheme, parts.host, parts.port)


def parse_pattern(text: object) -> OriginPattern:
    """A pattern of `allowed_origins`; `ValueError` if it is none."""
    parts = _parts(text) if isinstance(text, str) else None
    if parts is None or (parts.host == NULL and text != NULL):
        raise ValueError(
            f'{text!r} is not an origin pattern; expected "*", "null", or [scheme://]host[:port], '
            f'where ".host" includes its subdomains and an IPv6 address is in brackets'
        )
    return parts


def _parts(text: str) -> OriginPattern | None:
    shape = _SHAPE.fullmatch(text)
    host = _normalized(shape["host"]) if shape else None
    if shape is None or host is None:
        return None
    scheme = shape["scheme"].lower() if shape["scheme"] else None
    port = int(shape["port"]) if shape["port"] else DEFAULT_PORTS.get(scheme or "")
    if port is not None and not 0 < port < 65536:
        return None
    return OriginPattern(scheme, host, port)


def _normalized(host: str) -> str | None:
    """Lower case, Punycode, the short form of an IPv6 address; None if it is no host."""
    if host.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
        except ValueError:
            return None
    dot, name = (".", host[1:]) if host.startswith(".") else ("", host)
    try:
        return dot + name.encode("idna").decode("ascii").lower() if name else None
    except UnicodeError:
        return None
