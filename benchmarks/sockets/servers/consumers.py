"""The consumers, word for word the same for all who have Django Channels' interface.

The path is looked at here, so that no framework's routing is measured.
"""

from typing import Any

from . import order

Application = Any  # an ASGI 3 application; each library has a type of its own for it


def make_app(text_base: Any, json_base: Any, *, layer: str, no_layer: str | None) -> Application:
    """Rooms on the layer of the alias ``layer``; echo with ``no_layer``, an alias that has none."""
    room = make_json_room(json_base, layer) if order.JSON else make_room(text_base, layer)
    echo = make_echo(text_base, no_layer)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (echo if scope["path"] == "/echo" else room)(scope, receive, send)

    return app


def make_room(base: Any, layer: str) -> Application:
    class RoomConsumer(base):
        channel_layer_alias = layer

        async def connect(self) -> None:
            self.room = self.scope["path"].rpartition("/")[2]
            await self.accept()
            await self.channel_layer.group_add(self.room, self.channel_name)
            await self.send(text_data='"joined"')

        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            event = {"type": "chat.message", "text": text_data}
            await self.channel_layer.group_send(self.room, event)

        async def chat_message(self, event: Any) -> None:
            await self.send(text_data=event["text"])

        async def disconnect(self, code: int) -> None:
            await self.channel_layer.group_discard(self.room, self.channel_name)

    return RoomConsumer.as_asgi()


def make_json_room(base: Any, layer: str) -> Application:
    class JsonRoomConsumer(base):
        channel_layer_alias = layer

        async def connect(self) -> None:
            self.room = self.scope["path"].rpartition("/")[2]
            await self.accept()
            await self.channel_layer.group_add(self.room, self.channel_name)
            await self.send_json("joined")

        async def receive_json(self, content: Any, **kwargs: Any) -> None:
            event = {"type": "chat.message", "content": content}
            await self.channel_layer.group_send(self.room, event)

        async def chat_message(self, event: Any) -> None:
            await self.send_json(event["content"])

        async def disconnect(self, code: int) -> None:
            await self.channel_layer.group_discard(self.room, self.channel_name)

    return JsonRoomConsumer.as_asgi()


def make_echo(base: Any, no_layer: str | None) -> Application:
    class EchoConsumer(base):
        channel_layer_alias = no_layer

        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            await self.send(text_data=text_data)

    return EchoConsumer.as_asgi()
