"""The order in which a consumer handles what comes, and what it does when too much comes."""

import asyncio
import itertools
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any, ClassVar

import pytest

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.testing import ApplicationCommunicator, WebsocketCommunicator

from ..support.expect import eventually
from ..support.sample_consumers import LEAVE, SCOPE, Recorder, channel_of, frame

# Order


async def test_messages_go_before_frames(memory_layer: InMemoryChannelLayer) -> None:
    """What waits in the mailbox is handled first, and each source's events keep their order."""
    async with ApplicationCommunicator(Recorder, SCOPE) as client:
        channel = await channel_of(client)
        for number in range(50):
            await client.send_input(frame(number))
            await memory_layer.send(channel, {"type": "chat.message", "number": number})
        got = [await client.receive_output() for _ in range(100)]
    assert got == [
        {"type": kind, "number": number} for kind in ("message", "frame") for number in range(50)
    ]


async def test_a_flood_does_not_silence_the_client(memory_layer: InMemoryChannelLayer) -> None:
    """After as many messages as the mailbox holds it is the next frame's turn."""
    memory_layer.capacity = 10

    class Flooded(Recorder):
        handled = 0

        async def chat_flood(self, message: dict[str, Any]) -> None:
            self.handled += 1
            await self.channel_layer.send(self.channel_name, message)
            await asyncio.sleep(0)

        async def test_frame(self, message: dict[str, Any]) -> None:
            await self.send({"type": "handled", "count": self.handled})
            self.handled = 0

    async with ApplicationCommunicator(Flooded, SCOPE) as client:
        channel = await channel_of(client)
        await memory_layer.send(channel, {"type": "chat.flood"})
        for number in range(8):
            await client.send_input(frame(number))
        counts = [(await client.receive_output())["count"] for _ in range(8)]
    assert counts[1:] == [10] * 7


class Talker(AsyncWebsocketConsumer):
    """Says each frame to its room several times, and counts what the room says."""

    groups = ("room",)
    times: ClassVar[int] = 1
    heard: ClassVar[Counter[str]] = Counter()

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        for _ in range(self.times):
            await self.channel_layer.group_send("room", {"type": "room.message"})
        await self.send("said")

    async def room_message(self, message: dict[str, Any]) -> None:
        self.heard[self.channel_name] += 1


async def say(client: WebsocketCommunicator, frames: int) -> None:
    """All at once: most of them wait behind the first."""
    for _ in range(frames):
        await client.send_to("hello")
    for _ in range(frames):
        assert await client.receive_from(timeout=10) == "said"


@pytest.mark.parametrize(("talkers", "listeners", "times"), [(1, 0, 20), (4, 20, 3), (20, 20, 1)])
async def test_talkers_without_a_pause_hear_everything(
    memory_layer: InMemoryChannelLayer, talkers: int, listeners: int, times: int
) -> None:
    """Members whose next frame is always there already miss nothing of their room, nor do others."""
    Talker.heard.clear()
    Talker.times = times
    said = 50 * talkers * times
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(WebsocketCommunicator(Talker, "/"))
            for _ in range(talkers + listeners)
        ]
        await asyncio.gather(*(say(client, 50) for client in clients[:talkers]))
        await eventually(
            lambda: sum(Talker.heard.values()) >= said * len(clients), "it to be heard"
        )
    assert memory_layer.dropped == 0
    assert [*Talker.heard.values()] == [said] * len(clients)


async def test_handlers_run_one_at_a_time(memory_layer: InMemoryChannelLayer) -> None:
    """No handler starts before the one before it has returned, whatever its source."""

    class Slow(Recorder):
        running = 0

        async def test_frame(self, message: dict[str, Any]) -> None:
            self.running += 1
            await asyncio.sleep(0.001)
            await self.send({"type": "running", "count": self.running})
            self.running -= 1

        chat_message = test_frame

    async with ApplicationCommunicator(Slow, SCOPE) as client:
        channel = await channel_of(client)
        for number in range(10):
            await client.send_input(frame(number))
            await memory_layer.send(channel, {"type": "chat.message", "number": number})
        assert {(await client.receive_output())["count"] for _ in range(20)} == {1}


# Flow control


async def test_reader_stops_at_the_backlog(memory_layer: InMemoryChannelLayer) -> None:
    """A client that floods is read only `backlog` frames ahead, and loses none of them."""
    total = 200
    numbers = itertools.count()
    gate = asyncio.Event()
    handled: list[int] = []

    class Stuck(Recorder):
        backlog = 8

        async def test_frame(self, message: dict[str, Any]) -> None:
            await gate.wait()
            handled.append(message["number"])

    reads = 0

    async def receive() -> dict[str, Any]:
        nonlocal reads
        reads += 1
        number = next(numbers)
        return frame(number) if number < total else LEAVE

    async def send(event: dict[str, Any]) -> None:
        assert event == {"type": "left"}
        assert handled == list(range(total))

    task = asyncio.create_task(Stuck.as_asgi()(SCOPE, receive, send))
    for _ in range(100):
        await asyncio.sleep(0)
    # One is being handled, and one is in the reader's hand: it might have been the client's end.
    assert reads <= Stuck.backlog + 2
    gate.set()
    async with asyncio.timeout(30):
        await task
    assert handled == list(range(total))


@pytest.mark.parametrize(
    ("policy", "kept"), [("drop_newest", [0, 1, 2, 3, 4]), ("drop_oldest", [5, 6, 7, 8, 9])]
)
async def test_overflow_policy(memory_layer: InMemoryChannelLayer, policy: Any, kept: Any) -> None:
    """A full mailbox drops by the consumer's policy, and the layer counts what it dropped."""
    memory_layer.capacity = 5

    class Busy(Recorder):
        overflow = policy

        async def test_work(self, message: dict[str, Any]) -> None:
            await self.channel_layer.group_add("crowd", self.channel_name)
            for number in range(10):  # while this handler runs nobody takes from the mailbox
                await self.channel_layer.group_send(
                    "crowd", {"type": "chat.message", "number": number}
                )

    async with ApplicationCommunicator(Busy, SCOPE) as client:
        await client.send_input({"type": "test.work"})
        assert [(await client.receive_output())["number"] for _ in kept] == kept
        assert await client.receive_nothing(0.05)
    assert memory_layer.dropped == 5


async def test_unknown_overflow_policy(memory_layer: InMemoryChannelLayer) -> None:
    """A misspelt policy is a ValueError naming the policies, not a silent default."""

    class Misspelt(Recorder):
        overflow = "drop_latest"  # type: ignore[assignment]

    with pytest.raises(ValueError, match="drop_oldest"):
        await ApplicationCommunicator(Misspelt, SCOPE).wait()
