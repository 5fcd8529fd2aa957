"""Django Channels, with channels_redis for the kinds on Redis."""

from typing import Any

import django
from django.conf import settings

from . import order
from .consumers import make_app

BACKENDS = {
    "memory": "channels.layers.InMemoryChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "queue": "channels_redis.core.RedisChannelLayer",
}


def configure() -> None:
    layers: dict[str, Any] = {}
    if order.KIND in BACKENDS:
        # Without socket_timeout=None an idle receive dies after redis-py's default of 5 s.
        hosts = [{"address": order.REDIS, "socket_timeout": None}]
        options: dict[str, Any] = {} if order.KIND == "memory" else {"hosts": hosts}
        if order.KEYS:
            options["symmetric_encryption_keys"] = order.KEYS
        layers["default"] = {"BACKEND": BACKENDS[order.KIND], "CONFIG": options}
    settings.configure(CHANNEL_LAYERS=layers, INSTALLED_APPS=["channels"])
    django.setup()


configure()

# Channels reads Django's settings as it is imported.
from channels.generic.websocket import (  # noqa: E402
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
)

# An alias that is not configured is how Channels spells "no layer".
app = make_app(AsyncWebsocketConsumer, AsyncJsonWebsocketConsumer, layer="default", no_layer="none")
