"""The app under fault: sockets that hear everything, sockets that send, and what was dropped.

The variable FAULTS_LAYER holds the layer as JSON: `{"kind": "queue", "hosts": […], …options}`.
Run as `python -m tests.fast_channels.faults.app DESCRIPTOR`, with an inherited socket that listens.
"""

import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.exceptions import ChannelLayerUnavailable
from fast_channels.layers import (
    POSITION,
    InMemoryChannelLayer,
    RedisChannelLayer,
    RedisPubSubChannelLayer,
    register_channel_layer,
)
from fast_channels.recovery import RecoveryMixin
from fast_channels.server import WebSocketProtocol

GROUP = "load"
ACCEPTED, REFUSED, GAP = "accepted", "refused", "gap"
LAYERS = {
    "memory": InMemoryChannelLayer,
    "queue": RedisChannelLayer,
    "pubsub": RedisPubSubChannelLayer,
}


class Listener(AsyncWebsocketConsumer):
    """Passes on each message, and tells its client of a gap."""

    groups: ClassVar[list[str]] = [GROUP]

    async def numbered(self, message: dict[str, Any]) -> None:
        await self.send(text_data=message["text"])

    async def layer_reconnected(self, message: dict[str, Any]) -> None:
        await self.send(text_data=GAP)


class Sender(AsyncWebsocketConsumer):
    """Sends each frame to the listeners and answers what became of it."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            await self.channel_layer.group_send(GROUP, {"type": "numbered", "text": text_data})
        except ChannelLayerUnavailable:
            await self.send(text_data=REFUSED)
        else:
            await self.send(text_data=ACCEPTED)


class Returning(RecoveryMixin, AsyncWebsocketConsumer):
    """Joins the group where its client has left it, and passes each message on with its position."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        since = json.loads(text_data or "")["since"]
        joined = await self.join(GROUP, since=since)
        texts = [message["text"] for message in joined.messages]
        answer = {"texts": texts, "complete": joined.complete, "position": joined.position}
        await self.send(text_data=json.dumps(answer))

    async def numbered(self, message: dict[str, Any]) -> None:
        frame = {"text": message["text"], "position": message[POSITION]}
        await self.send(text_data=json.dumps(frame))


async def dropped(request: Request) -> PlainTextResponse:
    """How many messages found a consumer's mailbox full."""
    return PlainTextResponse(str(request.app.state.layer.dropped))


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    options = json.loads(os.environ["FAULTS_LAYER"])
    app.state.layer = LAYERS[options.pop("kind")](**options)
    register_channel_layer("default", app.state.layer)
    async with app.state.layer:
        yield


app = Starlette(
    lifespan=lifespan,
    routes=[
        WebSocketRoute("/listen", Listener.as_asgi()),
        WebSocketRoute("/send", Sender.as_asgi()),
        WebSocketRoute("/return", Returning.as_asgi()),
        Route("/dropped", dropped),
    ],
)


def serve(descriptor: int) -> None:
    config = uvicorn.Config(app, access_log=False, ws=WebSocketProtocol)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    serve(int(sys.argv[1]))
