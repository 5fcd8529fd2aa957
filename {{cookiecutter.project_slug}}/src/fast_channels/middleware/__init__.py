"""ASGI middleware: for WebSocket applications, and a bound for HTTP bodies."""

from .body_limit import BodyLimit
from .origin import OriginValidator, WebsocketDenier
from .wrapper import BaseMiddleware

__all__ = ["BaseMiddleware", "BodyLimit", "OriginValidator", "WebsocketDenier"]
