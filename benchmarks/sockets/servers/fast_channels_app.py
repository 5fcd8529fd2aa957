"""fast-channels 1.1.0 or the candidate, at the defaults of its layers.

Which of them is imported is a matter of PYTHONPATH; the interface is the same.
"""

from typing import Any

from fast_channels.consumer.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from fast_channels.layers import register_channel_layer
from fast_channels.layers.in_memory import InMemoryChannelLayer
from fast_channels.layers.redis.core import RedisChannelLayer
from fast_channels.layers.redis.pubsub import RedisPubSubChannelLayer

from . import order
from .consumers import make_app


def make_layer() -> Any:
    if order.KIND == "memory":
        return InMemoryChannelLayer()
    keys: Any = {"symmetric_encryption_keys": order.KEYS} if order.KEYS else {}
    if order.KIND == "pubsub":
        return RedisPubSubChannelLayer(hosts=[order.REDIS], **keys)
    # Without it an idle receive of fast-channels 1.1.0 dies after redis-py's default of 5 s.
    host: Any = {"address": order.REDIS, "socket_timeout": None}
    return RedisChannelLayer(hosts=[host], **keys)


if order.KIND != "-":
    register_channel_layer("bench", make_layer())
# None: no layer is registered as the default one, so that the echo has none.
app = make_app(AsyncWebsocketConsumer, AsyncJsonWebsocketConsumer, layer="bench", no_layer=None)
