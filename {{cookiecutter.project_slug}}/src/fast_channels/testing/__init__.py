"""Drive an ASGI application in a test, without a server or a socket.

Each communicator takes any ASGI application (a FastAPI app, a router, a plain function, what
`Consumer.as_asgi()` returns) or a consumer class itself.
"""

from .application import ApplicationCommunicator
from .errors import ConnectionRefused, UnexpectedEvent
from .http import HttpCommunicator, HttpResponse
from .websocket import WebsocketCommunicator

__all__ = [
    "ApplicationCommunicator",
    "ConnectionRefused",
    "HttpCommunicator",
    "HttpResponse",
    "UnexpectedEvent",
    "WebsocketCommunicator",
]
