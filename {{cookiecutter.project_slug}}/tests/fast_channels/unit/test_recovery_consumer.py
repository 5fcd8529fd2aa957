"""A consumer that recovers: what its client missed comes first, once and in order."""

from typing import Any

from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.layers import POSITION, InMemoryChannelLayer
from fast_channels.recovery import RecoveryMixin
from fast_channels.testing import WebsocketCommunicator


class Room(RecoveryMixin, AsyncJsonWebsocketConsumer):
    channel_layer_alias = "default"
    handlers = frozenset({"said"})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content["type"] == "join":
            joined = await self.join("room", since=content.get("since"), history=10)
            await self.send_json({"complete": joined.complete, "position": joined.position})
            for message in joined.messages:
                await self.said(message)
        else:
            await self.leave("room")
            await self.send_json({})

    async def said(self, event: dict[str, Any]) -> None:
        await self.send_json({"text": event["text"], "position": event[POSITION]})


async def test_a_client_goes_on_where_it_broke_off(memory_layer: InMemoryChannelLayer) -> None:
    """With the position that came with the last event."""

    async def say(*texts: str) -> None:
        for text in texts:
            await memory_layer.group_send("room", {"type": "said", "text": text})

    first = WebsocketCommunicator(Room, "/")
    await first.connect()
    await first.send_json_to({"type": "join"})
    assert (await first.receive_json_from())["complete"]
    await say("one")
    event = await first.receive_json_from()
    await first.disconnect()
    await say("two", "three")

    second = WebsocketCommunicator(Room, "/")
    await second.connect()
    await second.send_json_to({"type": "join", "since": event["position"]})
    assert (await second.receive_json_from())["complete"]
    await say("four")
    texts = [(await second.receive_json_from())["text"] for _ in range(3)]
    assert texts == ["two", "three", "four"]
    await second.send_json_to({"type": "leave"})
    await second.receive_json_from()
    await say("five")
    assert await second.receive_nothing()
    await second.disconnect()
