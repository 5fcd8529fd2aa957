"""Channel layers and their registry. The Redis layers are imported on first use."""

from typing import TYPE_CHECKING, Any

from ..messages import register_encoder
from .base import BaseChannelLayer
from .history import POSITION, History, Joined
from .in_memory import InMemoryChannelLayer
from .jobs import DeadLetter, Delivery, Depth, InspectableWorkQueue, WorkQueue
from .registry import (
    ChannelLayerRegistry,
    channel_layers,
    get_channel_layer,
    has_layers,
    is_ready,
    open_layers,
    register_channel_layer,
    unregister_channel_layer,
)

if TYPE_CHECKING:
    from .redis import RedisChannelLayer, RedisPubSubChannelLayer

__all__ = [
    "POSITION",
    "BaseChannelLayer",
    "ChannelLayerRegistry",
    "DeadLetter",
    "Delivery",
    "Depth",
    "History",
    "InMemoryChannelLayer",
    "InspectableWorkQueue",
    "Joined",
    "RedisChannelLayer",
    "RedisPubSubChannelLayer",
    "WorkQueue",
    "channel_layers",
    "get_channel_layer",
    "has_layers",
    "is_ready",
    "open_layers",
    "register_channel_layer",
    "register_encoder",
    "unregister_channel_layer",
]


def __getattr__(name: str) -> Any:
    if name in ("RedisChannelLayer", "RedisPubSubChannelLayer"):
        from . import redis  # redis-py is needed by an app that uses it only

        return getattr(redis, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
