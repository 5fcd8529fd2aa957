"""Rolling the dice in a room."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fast_channels.layers import (
    InMemoryChannelLayer,
    register_channel_layer,
    unregister_channel_layer,
)
from fast_channels.testing import WebsocketCommunicator

from my_chat.auth import User
from my_chat.chat import ChatConsumer


@pytest.fixture
async def layer() -> AsyncIterator[None]:
    async with InMemoryChannelLayer() as layer:
        register_channel_layer("default", layer)
        yield
    unregister_channel_layer("default")


def page_of(name: str) -> WebsocketCommunicator:
    """The socket of somebody who has signed in."""
    user = User(id=name.lower(), name=name)
    consumer = ChatConsumer.as_asgi(user=user, session="s", session_expires_at=time.time() + 60)
    return WebsocketCommunicator(consumer, "/ws/chat")


async def receive(page: WebsocketCommunicator, frame_type: str) -> dict[str, Any]:
    """The next frame of this type; others that come before it are passed over."""
    while (frame := await page.receive_json_from())["type"] != frame_type:
        pass
    return frame


@pytest.mark.usefixtures("layer")
async def test_everybody_in_the_room_sees_the_same_roll() -> None:
    """One rolls; both sockets receive who it was, and one value from 1 to 6."""
    room = {"group": "room.lobby"}
    async with page_of("Ann") as ann, page_of("Bo") as bo:
        for page in (ann, bo):
            await page.send_json_to({"type": "join", **room})
            await receive(page, "joined")
        await ann.send_json_to({"type": "roll", **room})
        seen = await receive(bo, "rolled")
        assert seen == await receive(ann, "rolled")
        assert seen["user"] == {"id": "ann", "name": "Ann"}
        assert seen["value"] in range(1, 7)
