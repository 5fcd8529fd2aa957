"""Consumers: classes whose methods handle the events of one connection or job."""

from .base import AsyncConsumer
from .http import AsyncHttpConsumer
from .websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer

__all__ = [
    "AsyncConsumer",
    "AsyncHttpConsumer",
    "AsyncJsonWebsocketConsumer",
    "AsyncWebsocketConsumer",
]
