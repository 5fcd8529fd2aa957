"""Drive an ASGI application in a test, without a server or a socket.

Each communicator takes any ASGI application (a FastAPI app, a router, a plain function, what
`Consumer.as_asgi()` returns) or a consumer class itself.
"""

from .communicators import (
    ApplicationCommunicator,
    ConnectionRefused,
    HttpCommunicator,
    HttpResponse,
    WebsocketCommunicator,
)
from .server_rules import UnexpectedEvent

__all__ = [
    "ApplicationCommunicator",
    "ConnectionRefused",
    "HttpCommunicator",
    "HttpResponse",
    "UnexpectedEvent",
    "WebsocketCommunicator",
]
