"""A room that a browser may leave and come back to, and the same room as server-sent events."""

# consumer
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import FastAPI, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.layers import POSITION, History, InMemoryChannelLayer, channel_layers
from fast_channels.recovery import RecoveryMixin
from fast_channels.sse import group_events
from fast_channels.testing import WebsocketCommunicator

KEPT = {"room.*": History(messages=1000, seconds=24 * 3600)}
channel_layers.register("default", InMemoryChannelLayer(group_history=KEPT))


class RoomConsumer(RecoveryMixin, AsyncJsonWebsocketConsumer):
    channel_layer_alias = "default"
    handlers = frozenset({"said", "layer.reconnected"})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content["type"] == "join":  # a newcomer has no "since"
            joined = await self.join("room.lobby", since=content.get("since"), history=50)
            await self.send_json({"type": "joined", "complete": joined.complete})
            for message in joined.messages:
                await self.said(message)
        else:
            event = {"type": "said", "text": content["text"]}
            await self.channel_layer.group_send("room.lobby", event)

    async def said(self, event: dict[str, Any]) -> None:
        await self.send_json({"type": "said", "text": event["text"], "position": event[POSITION]})

    async def layer_reconnected(self, event: dict[str, Any]) -> None:
        await self.send_json({"type": "incomplete"})


# events
app = FastAPI()


@app.get("/rooms/lobby/events", response_class=EventSourceResponse)
async def events(
    last_event_id: Annotated[str | None, Header()] = None,
) -> AsyncIterator[ServerSentEvent]:
    async for event in group_events(
        channel_layers["default"], "room.lobby", last_event_id, history=50
    ):
        yield event


# tests


async def test_a_browser_comes_back() -> None:
    """It gets what was said meanwhile, and is told that nothing is missing."""
    first, other = (WebsocketCommunicator(RoomConsumer, "/") for _ in range(2))
    for browser in (first, other):
        await browser.connect()
        await browser.send_json_to({"type": "join"})
        assert await browser.receive_json_from() == {"type": "joined", "complete": True}
    await other.send_json_to({"type": "say", "text": "one"})
    position = (await first.receive_json_from())["position"]
    await first.disconnect()
    await other.send_json_to({"type": "say", "text": "two"})
    for _ in range(2):
        await other.receive_json_from()

    again = WebsocketCommunicator(RoomConsumer, "/")
    await again.connect()
    await again.send_json_to({"type": "join", "since": position})
    assert await again.receive_json_from() == {"type": "joined", "complete": True}
    assert (await again.receive_json_from())["text"] == "two"
    await again.disconnect()
    await other.disconnect()


async def test_a_tool_reads_events() -> None:
    """Each with its position as id."""
    stream = events()
    await channel_layers["default"].group_send("room.lobby", {"type": "said", "text": "three"})
    async for event in stream:
        if event.data and event.data["text"] == "three":
            assert event.id
            break
    await stream.aclose()
