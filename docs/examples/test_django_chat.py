"""A consumer as written for Django Channels, in a FastAPI app."""

import json

from anyio.from_thread import run as run_in_loop
from fastapi import APIRouter, FastAPI
from starlette.routing import WebSocketRoute

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.layers import (
    InMemoryChannelLayer,
    get_channel_layer,
    register_channel_layer,
    unregister_channel_layer,
)
from fast_channels.middleware import OriginValidator
from fast_channels.testing import HttpCommunicator, WebsocketCommunicator


# consumer
class ChatConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        self.room = self.scope["path_params"]["room_name"]
        await self.channel_layer.group_add(f"chat_{self.room}", self.channel_name)
        await self.accept()

    async def disconnect(self, close_code):
        await self.channel_layer.group_discard(f"chat_{self.room}", self.channel_name)

    async def receive(self, text_data=None, bytes_data=None):
        message = json.loads(text_data)["message"]
        await self.channel_layer.group_send(
            f"chat_{self.room}", {"type": "chat.message", "message": message}
        )

    async def chat_message(self, event):
        await self.send(text_data=json.dumps({"message": event["message"]}))


# routes
sockets = APIRouter()
sockets.routes.append(WebSocketRoute("/chat/{room_name}/", ChatConsumer.as_asgi()))

app = FastAPI()
app.mount("/ws", OriginValidator(sockets, ["localhost", "127.0.0.1", ".example.com"]))


# sync
@app.post("/announce/{room_name}")
def announce(room_name: str, message: str) -> None:
    """A plain function: FastAPI runs it in a thread, and the layer belongs to the event loop."""
    layer = get_channel_layer()
    run_in_loop(layer.group_send, f"chat_{room_name}", {"type": "chat.message", "message": message})


# end
async def test_the_chat_works() -> None:
    """Two sockets in a room, one outside it, a message from a socket and one from a view."""
    headers = {"origin": "https://www.example.com"}
    async with InMemoryChannelLayer() as layer:
        register_channel_layer("default", layer)
        async with (
            WebsocketCommunicator(app, "/ws/chat/tea/", headers=headers) as ann,
            WebsocketCommunicator(app, "/ws/chat/tea/", headers=headers) as bo,
            WebsocketCommunicator(app, "/ws/chat/coffee/", headers=headers) as other,
        ):
            await ann.send_json_to({"message": "hello"})
            assert await bo.receive_json_from() == {"message": "hello"}
            assert await ann.receive_json_from() == {"message": "hello"}
            response = await HttpCommunicator(
                app, "/announce/tea?message=closing", method="POST"
            ).get_response(timeout=5)
            assert response["status"] == 200
            assert await bo.receive_json_from() == {"message": "closing"}
            assert await other.receive_nothing()
    unregister_channel_layer("default")
