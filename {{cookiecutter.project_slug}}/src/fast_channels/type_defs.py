"""Names for the shapes that consumers, middleware and layers pass around.

The ASGI events and scopes follow the ASGI specification 3.0 (HTTP and WebSocket, spec_version 2.4).
The callables are the same types as Starlette's, so that a middleware of one fits the other.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Literal, NotRequired, Protocol, TypeAlias, TypedDict

# Callables

Scope: TypeAlias = MutableMapping[str, Any]
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
ASGIApplication: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class SupportsAsgi(Protocol):
    """A consumer class: it makes its ASGI application itself."""

    def as_asgi(self, **initkwargs: Any) -> Callable[[Any, Any, Any], Awaitable[None]]: ...


# What middleware and communicators take. Looser than ASGIApplication in its arguments, so that an
# application annotated with dict, or with a framework's own types, fits without a cast.
Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]] | SupportsAsgi

# Values

Headers: TypeAlias = list[tuple[bytes, bytes]]
HeadersInput: TypeAlias = Iterable[tuple[str | bytes, str | bytes]]
Address: TypeAlias = tuple[str, int | None]

# Messages of a channel layer

ChannelMessage: TypeAlias = dict[str, Any]
"""What travels through a layer: str keys, and values that its serializer carries."""


class TypedMessage(TypedDict):
    """Base of an application's own message types; `type` names the handler.

    For example `class ChatMessage(TypedMessage): text: str` for `{"type": "chat.message", …}`.
    """

    type: str


# Scopes


class ASGIVersions(TypedDict):
    version: str
    spec_version: NotRequired[str]


class ConnectionScope(TypedDict):
    """What HTTP and WebSocket scopes share. `path` is percent-decoded, `raw_path` is not."""

    asgi: ASGIVersions
    http_version: str
    scheme: str
    path: str
    raw_path: NotRequired[bytes | None]
    query_string: bytes
    root_path: str
    headers: Headers
    client: NotRequired[Address | None]
    server: NotRequired[Address | None]
    state: NotRequired[dict[str, Any]]
    extensions: NotRequired[dict[str, dict[str, Any]]]


class HTTPScope(ConnectionScope):
    type: Literal["http"]
    method: str


class WebSocketScope(ConnectionScope):
    type: Literal["websocket"]
    subprotocols: list[str]


class LifespanScope(TypedDict):
    type: Literal["lifespan"]
    asgi: ASGIVersions
    state: NotRequired[dict[str, Any]]


# HTTP events


class HTTPRequestEvent(TypedDict):
    type: Literal["http.request"]
    body: NotRequired[bytes]
    more_body: NotRequired[bool]


class HTTPDisconnectEvent(TypedDict):
    type: Literal["http.disconnect"]


class HTTPResponseStartEvent(TypedDict):
    type: Literal["http.response.start"]
    status: int
    headers: NotRequired[Headers]


class HTTPResponseBodyEvent(TypedDict):
    type: Literal["http.response.body"]
    body: NotRequired[bytes]
    more_body: NotRequired[bool]


HTTPReceiveEvent: TypeAlias = HTTPRequestEvent | HTTPDisconnectEvent
HTTPSendEvent: TypeAlias = HTTPResponseStartEvent | HTTPResponseBodyEvent

# WebSocket events


class WebSocketConnectEvent(TypedDict):
    type: Literal["websocket.connect"]


class WebSocketAcceptEvent(TypedDict):
    type: Literal["websocket.accept"]
    subprotocol: NotRequired[str | None]
    headers: NotRequired[Headers]


class WebSocketReceiveEvent(TypedDict):
    """One frame from the client; exactly one of `text` and `bytes` is there and not None."""

    type: Literal["websocket.receive"]
    text: NotRequired[str | None]
    bytes: NotRequired[bytes | None]


class WebSocketSendEvent(TypedDict):
    """One frame to the client; exactly one of `text` and `bytes` is there and not None."""

    type: Literal["websocket.send"]
    text: NotRequired[str | None]
    bytes: NotRequired[bytes | None]


class WebSocketDisconnectEvent(TypedDict):
    type: Literal["websocket.disconnect"]
    code: int
    reason: NotRequired[str | None]


class WebSocketCloseEvent(TypedDict):
    """Closes an accepted socket; before the accept it refuses the connection with HTTP 403."""

    type: Literal["websocket.close"]
    code: NotRequired[int]
    reason: NotRequired[str | None]


WebSocketClientEvent: TypeAlias = (
    WebSocketConnectEvent | WebSocketReceiveEvent | WebSocketDisconnectEvent
)
WebSocketServerEvent: TypeAlias = WebSocketAcceptEvent | WebSocketSendEvent | WebSocketCloseEvent
