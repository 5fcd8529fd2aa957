"""The consumer of a chat room, by the interface that fast-channels 1.1.0 and the candidate share.

Which of them is imported is a matter of PYTHONPATH. A room, and whoever has no layer, are named by
the URL's path; the path is looked at here, so that no framework's routing is measured.
"""

from typing import Any

from fast_channels.consumer.websocket import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer
from fast_channels.layers import register_channel_layer

from . import order
from .fast_channels_layers import make_layer


class RoomConsumer(AsyncWebsocketConsumer):
    channel_layer_alias = "bench"

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
    channel_layer_alias = "bench"

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
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data)


if order.KIND != "-":
    register_channel_layer("bench", make_layer())
room = (JsonRoomConsumer if order.JSON else RoomConsumer).as_asgi()
echo = EchoConsumer.as_asgi()


async def app(scope: Any, receive: Any, send: Any) -> None:
    await (echo if scope["path"] == "/echo" else room)(scope, receive, send)
