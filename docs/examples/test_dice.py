"""Rolling the dice in a room."""

from collections.abc import AsyncIterator

import pytest

from fast_channels.layers import (
    InMemoryChannelLayer,
    register_channel_layer,
    unregister_channel_layer,
)
from fast_channels.testing import WebsocketCommunicator

from my_chat.main import sockets


@pytest.fixture
async def layer() -> AsyncIterator[None]:
    async with InMemoryChannelLayer() as layer:
        register_channel_layer("default", layer)
        yield
    unregister_channel_layer("default")


async def receive(client: WebsocketCommunicator, frame_type: str) -> dict[str, object]:
    """The next frame of this type; others that come before it are passed over."""
    while (frame := await client.receive_json_from())["type"] != frame_type:
        pass
    return frame


@pytest.mark.usefixtures("layer")
async def test_everybody_in_the_room_sees_the_same_roll() -> None:
    """One rolls; both sockets receive the name and one value from 1 to 6."""
    async with (
        WebsocketCommunicator(sockets, "/chat/lobby?name=Ann") as ann,
        WebsocketCommunicator(sockets, "/chat/lobby?name=Bo") as bo,
    ):
        await ann.send_json_to({"type": "roll"})
        seen = await receive(bo, "rolled")
        assert seen == await receive(ann, "rolled")
        assert seen["name"] == "Ann"
        assert seen["client"]
        assert seen["value"] in range(1, 7)
