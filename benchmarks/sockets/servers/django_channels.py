"""The same consumer on Django Channels, with channels_redis for the kinds on Redis."""

from typing import Any

import django
from django.conf import settings

from . import order

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
        options = {} if order.KIND == "memory" else {"hosts": hosts}
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


class RoomConsumer(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        self.room = self.scope["path"].rpartition("/")[2]
        await self.accept()
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.send(text_data='"joined"')

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.channel_layer.group_send(self.room, {"type": "chat.message", "text": text_data})

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.room, self.channel_name)


class JsonRoomConsumer(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        self.room = self.scope["path"].rpartition("/")[2]
        await self.accept()
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.send_json("joined")

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.channel_layer.group_send(self.room, {"type": "chat.message", "content": content})

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send_json(event["content"])

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.room, self.channel_name)


class EchoConsumer(AsyncWebsocketConsumer):
    channel_layer_alias = "none"  # one that does not exist is how Channels spells "no layer"

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data)


room = (JsonRoomConsumer if order.JSON else RoomConsumer).as_asgi()
echo = EchoConsumer.as_asgi()


async def app(scope: Any, receive: Any, send: Any) -> None:
    await (echo if scope["path"] == "/echo" else room)(scope, receive, send)
