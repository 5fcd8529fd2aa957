"""Typed frames through a layer: a group's members pass on what another process made into JSON."""

import json
from contextlib import AsyncExitStack

from fast_channels.frames import frame_message
from fast_channels.layers import BaseChannelLayer, register_channel_layer, unregister_channel_layer
from fast_channels.testing import WebsocketCommunicator

from ..support.sample_frames import Chat, Place, Said

PATIENCE = 30.0  # seconds; only a failing test waits so long


async def test_a_frame_reaches_the_clients_of_a_group(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """Each gets the text as it was sent, whatever characters are in it, and in its order."""
    texts = ["Grüße \u2028 𝄞", 'a "b" \\ c', "\x00\x1f", "x" * 50_000]
    frames = [Said(text=text, place=Place(at=(1.5, -0.0))) for text in texts]
    register_channel_layer("default", layer)
    try:
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(WebsocketCommunicator(Chat, "/")) for _ in range(3)
            ]
            for frame in frames:
                await peer_layer.group_send("chat", frame_message(frame))
            for client in clients:
                got = [await client.receive_from(PATIENCE) for _ in frames]
                assert got == [frame.model_dump_json() for frame in frames]
                assert [json.loads(one)["text"] for one in got] == texts
    finally:
        unregister_channel_layer("default")
