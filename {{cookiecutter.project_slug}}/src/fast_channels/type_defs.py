"""The shapes that consumers, middleware and layers pass around, and how they are made of what users give.

Scopes and events are those of the ASGI specification 3.0; the package asgiref spells out each one. The
callables are the same types as Starlette's, so that a middleware of one fits the other. Knows no module
of this package.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Protocol, TypeAlias, cast

Scope: TypeAlias = MutableMapping[str, Any]
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
ASGIApplication: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

Headers: TypeAlias = list[tuple[bytes, bytes]]
HeadersInput: TypeAlias = Iterable[tuple[str | bytes, str | bytes]]

ChannelMessage: TypeAlias = dict[str, Any]
"""What travels through a layer; ``fast_channels.messages`` says what it may hold."""


class SupportsAsgi(Protocol):
    """A consumer class: it makes its ASGI application itself."""

    def as_asgi(self, **initkwargs: Any) -> Callable[[Any, Any, Any], Awaitable[None]]: ...


# What middleware and communicators take. Looser than ASGIApplication in its arguments, so that an
# application annotated with dict, or with a framework's own types, fits without a cast.
Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]] | SupportsAsgi


def as_application(application: Application) -> ASGIApplication:
    """An ASGI application as it is; a consumer class, by its `as_asgi()`. Others: `TypeError`."""
    if isinstance(application, type) and hasattr(application, "as_asgi"):
        return cast(SupportsAsgi, application).as_asgi()
    if isinstance(application, type) or not callable(application):
        raise TypeError(f"expected an ASGI application or a consumer class, not {application!r}")
    return application


def encode_headers(headers: HeadersInput | None) -> Headers:
    """Header pairs as ASGI wants them: bytes; a str is encoded as latin-1 (ASGI specification)."""
    return [(_latin1(name), _latin1(value)) for name, value in headers or ()]


def _latin1(value: bytes | str) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else value


# RFC 9110, 5.6.2, and the control characters with which a value could become another header.
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def is_header(name: object, value: object) -> bool:
    """Whether this may be sent as an HTTP header: bytes, a token and a value without control characters."""
    return (
        isinstance(name, bytes)
        and isinstance(value, bytes)
        and TOKEN.fullmatch(name) is not None
        and _CONTROLS.search(value) is None
    )
