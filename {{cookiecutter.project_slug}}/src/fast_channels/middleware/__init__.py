"""ASGI middleware: for WebSocket applications, and a bound for HTTP bodies."""

from .base import BaseMiddleware
from .body_limit import BodyLimit
from .denier import WebsocketDenier
from .origin import OriginValidator

__all__ = ["BaseMiddleware", "BodyLimit", "OriginValidator", "WebsocketDenier"]
