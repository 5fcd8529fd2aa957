"""A client that leaves: what came before is handled first, and a slow handler delays nothing.

`disconnect_patience` and `disconnect_grace` are shortened or lengthened so that each test shows one.
"""

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.layers import InMemoryChannelLayer, get_channel_layer
from fast_channels.testing import WebsocketCommunicator

from ..support.expect import eventually

pytestmark = pytest.mark.usefixtures("memory_layer")

FOREVER = 30.0  # seconds; a test that waited for so long would fail by its own deadline


def slow_consumer(**settings: float) -> tuple[type[AsyncWebsocketConsumer], list[Any], Any]:
    """A consumer whose handler waits at a gate; what happens to it, in order; the gate."""
    story: list[Any] = []
    gate = asyncio.Event()

    class Slow(AsyncWebsocketConsumer):
        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            story.append(f"start {text_data}")
            try:
                await gate.wait()
                await self.send("answer")
                story.append(f"end {text_data}")
            except asyncio.CancelledError:
                story.append(f"cancelled {text_data}")
                raise

        async def note(self, message: dict[str, Any]) -> None:
            story.append("note")

        async def disconnect(self, code: int) -> None:
            story.append("disconnect")

    for name, value in settings.items():
        setattr(Slow, name, value)
    return Slow, story, gate


async def leave_beside_a_handler(consumer: type[AsyncWebsocketConsumer], story: list[Any]) -> Any:
    client = WebsocketCommunicator(consumer, "/")
    await client.connect()
    await client.send_to("one")
    await eventually(lambda: story == ["start one"], "the handler to start")
    await client.send_input({"type": "websocket.disconnect", "code": 1001})
    return client


async def test_frames_before_the_end_come_first() -> None:
    """All that the client sent before it left is handled before disconnect(), in order."""
    story: list[Any] = []

    class Counting(AsyncWebsocketConsumer):
        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            await asyncio.sleep(0)
            story.append(text_data)

        async def disconnect(self, code: int) -> None:
            story.append("disconnect")

    client = WebsocketCommunicator(Counting, "/")
    await client.connect()
    for number in range(100):
        await client.send_to(str(number))
    await client.disconnect()
    assert story == [*(str(number) for number in range(100)), "disconnect"]


async def test_frame_is_answered_though_the_close_came_with_it() -> None:
    """The consumer sends its answer, whether or not the server can still pass it on."""

    class Echo(AsyncWebsocketConsumer):
        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            await asyncio.sleep(0.01)
            await self.send(text_data)

    client = WebsocketCommunicator(Echo, "/")
    await client.connect()
    await client.send_to("last words")
    await client.send_input({"type": "websocket.disconnect", "code": 1000})
    await client.wait()
    assert await client.receive_from() == "last words"


async def test_quick_handler_ends_before_disconnect() -> None:
    """A handler that returns within `disconnect_patience` is not overtaken by disconnect()."""
    consumer, story, gate = slow_consumer(disconnect_patience=FOREVER)
    client = await leave_beside_a_handler(consumer, story)
    gate.set()
    await client.wait()
    assert story == ["start one", "end one", "disconnect"]


async def test_slow_handler_does_not_delay_disconnect() -> None:
    """After `disconnect_patience` disconnect() runs beside a handler, which may then finish."""
    consumer, story, gate = slow_consumer(disconnect_patience=0.01, disconnect_grace=FOREVER)
    client = await leave_beside_a_handler(consumer, story)
    await eventually(lambda: "disconnect" in story, "disconnect()")
    assert story == ["start one", "disconnect"]
    gate.set()
    await client.wait()
    assert story == ["start one", "disconnect", "end one"]
    assert await client.receive_nothing(0), "a frame was sent to a client that has left"


@pytest.mark.parametrize("busy", [False, True])
async def test_disconnect_sees_the_context_of_earlier_handlers(busy: bool) -> None:
    """Context variables that connect() and later handlers set, also beside a handler that runs."""
    user: ContextVar[str] = ContextVar("user", default="nobody")
    topic: ContextVar[str] = ContextVar("topic", default="nothing")
    seen: list[Any] = []
    gate = asyncio.Event()

    class Marked(AsyncWebsocketConsumer):
        groups = ("room",)
        disconnect_patience = 0.01

        async def connect(self) -> None:
            user.set("Ann")
            await self.accept()

        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            await self.send("working")
            await gate.wait()

        async def room_topic(self, message: dict[str, Any]) -> None:
            topic.set(message["topic"])
            await self.send("noted")

        async def disconnect(self, code: int) -> None:
            seen.append((user.get(), topic.get()))

    client = WebsocketCommunicator(Marked, "/")
    await client.connect()
    layer = get_channel_layer()
    assert layer is not None
    await layer.group_send("room", {"type": "room.topic", "topic": "weather"})
    assert await client.receive_from() == "noted"
    if busy:
        await client.send_to("work")
        assert await client.receive_from() == "working"
    await client.send_input({"type": "websocket.disconnect", "code": 1001})
    await eventually(lambda: len(seen) == 1, "disconnect()")
    gate.set()
    await client.wait()
    assert seen == [("Ann", "weather")]


async def test_default_patience_is_short() -> None:
    """By default the client's leaving is handled within half a second."""
    consumer, story, _ = slow_consumer()
    client = await leave_beside_a_handler(consumer, story)
    await eventually(lambda: "disconnect" in story, "disconnect()", within=5)
    await client.stop()


async def test_handler_is_cancelled_after_the_grace() -> None:
    """A handler that still runs `disconnect_grace` seconds after disconnect() is cancelled."""
    consumer, story, _ = slow_consumer(disconnect_patience=0.01, disconnect_grace=0.02)
    client = await leave_beside_a_handler(consumer, story)
    await client.wait()
    assert story == ["start one", "disconnect", "cancelled one"]


async def test_what_runs_around_the_consumer_is_not_cancelled() -> None:
    """A handler that fails while disconnect() runs beside it cuts that off, and nothing else."""
    story: list[str] = []
    gate = asyncio.Event()

    class Failing(AsyncWebsocketConsumer):
        disconnect_patience = 0.01

        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            await gate.wait()
            raise ZeroDivisionError

        async def disconnect(self, code: int) -> None:
            story.append("disconnect")
            gate.set()
            await asyncio.sleep(FOREVER)

    async def middleware(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(ZeroDivisionError):
            await Failing.as_asgi()(scope, receive, send)
        for _ in range(10):
            await asyncio.sleep(0.001)
        story.append("around it")

    client = WebsocketCommunicator(middleware, "/")
    await client.connect()
    await client.send_to("one")
    await client.disconnect(timeout=FOREVER)
    assert story == ["disconnect", "around it"]


async def test_frames_behind_a_slow_handler_are_dropped_once_it_is_over() -> None:
    """Frames that were not handled in time are not handled after disconnect()."""
    consumer, story, gate = slow_consumer(disconnect_patience=0.01, disconnect_grace=FOREVER)
    client = WebsocketCommunicator(consumer, "/")
    await client.connect()
    await client.send_to("one")
    await client.send_to("two")
    await client.send_input({"type": "websocket.disconnect", "code": 1001})
    await eventually(lambda: "disconnect" in story, "disconnect()")
    gate.set()
    await client.wait()
    assert story == ["start one", "disconnect", "end one"]


async def test_messages_after_the_end_are_dropped(memory_layer: InMemoryChannelLayer) -> None:
    """No message of the layer is handled after disconnect(), though the handler before it ends."""
    consumer, story, gate = slow_consumer(disconnect_patience=0.01, disconnect_grace=FOREVER)
    consumer.groups = ("room",)
    client = await leave_beside_a_handler(consumer, story)
    await memory_layer.group_send("room", {"type": "note"})
    await eventually(lambda: "disconnect" in story, "disconnect()")
    gate.set()
    await client.wait()
    assert story == ["start one", "disconnect", "end one"]


async def test_busy_group_does_not_delay_disconnect(memory_layer: InMemoryChannelLayer) -> None:
    """A stream of messages that never pauses cannot keep a consumer whose client has left."""
    story: list[Any] = []

    class Storm(AsyncWebsocketConsumer):
        groups = ("storm",)
        disconnect_patience = 0.05

        async def storm(self, message: dict[str, Any]) -> None:
            await self.channel_layer.group_send("storm", message)
            await asyncio.sleep(0)

        async def disconnect(self, code: int) -> None:
            story.append("disconnect")

    client = WebsocketCommunicator(Storm, "/")
    await client.connect()
    await memory_layer.group_send("storm", {"type": "storm"})
    await client.disconnect()
    assert story == ["disconnect"]
