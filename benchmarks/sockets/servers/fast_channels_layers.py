"""The layer that was asked for, of whichever ``fast_channels`` is imported, at its defaults."""

from typing import Any

from fast_channels.layers.in_memory import InMemoryChannelLayer
from fast_channels.layers.redis.core import RedisChannelLayer
from fast_channels.layers.redis.pubsub import RedisPubSubChannelLayer

from . import order


def make_layer() -> Any:
    if order.KIND == "memory":
        return InMemoryChannelLayer()
    keys: dict[str, Any] = {"symmetric_encryption_keys": order.KEYS} if order.KEYS else {}
    if order.KIND == "pubsub":
        return RedisPubSubChannelLayer(hosts=[order.REDIS], **keys)
    # Without it an idle receive of fast-channels 1.1.0 dies after redis-py's default of 5 s.
    host = {"address": order.REDIS, "socket_timeout": None}
    return RedisChannelLayer(hosts=[host], **keys)
