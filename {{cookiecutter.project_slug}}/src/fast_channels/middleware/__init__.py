"""ASGI middleware for WebSocket applications."""

from .base import BaseMiddleware
from .denier import WebsocketDenier
from .origin import OriginValidator

__all__ = ["BaseMiddleware", "OriginValidator", "WebsocketDenier"]
