"""Many come and go: nobody who stays loses a message, and nothing is left of those who went.

CHURN=10 makes ten times as many connections; by default they are as many as a leak needs to show.
"""

import asyncio
import gc
import os
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis.asyncio

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.layers import InMemoryChannelLayer

from ..support.backends import Backend
from ..support.expect import eventually
from ..support.redis_servers import RedisServer

TIMES = float(os.environ.get("CHURN", "1"))
JOINS = 10_000  # not fewer by default, and not more
CONNECTIONS = int(2_000 * TIMES)
EXPIRY = 0.5  # seconds; what the queue layer logs for a group lives up to 1.5 times as long

MakeLayer = Callable[..., Any]


@pytest.fixture(params=["memory", "queue-standalone", "pubsub-standalone"])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "memory":
        return Backend("memory")
    server: RedisServer = request.getfixturevalue("redis_server")
    return Backend(request.param, server.url, prefix=f"churn-{uuid.uuid4().hex[:8]}")


@pytest.fixture
async def make_layer(backend: Backend) -> AsyncIterator[MakeLayer]:
    """Makes layers of the backend, one for each process; all are closed after the test."""
    async with AsyncExitStack() as stack:

        def make(**options: Any) -> Any:
            layer = backend.make(**options)
            stack.push_async_callback(layer.aclose)
            return layer

        yield make


@pytest.fixture
async def redis_client(redis_server: RedisServer) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(redis_server.url, protocol=2) as client:
        yield client


async def test_a_stable_member_beside_churn(backend: Backend, make_layer: MakeLayer) -> None:
    """While 10,000 members join and leave its group, in its process and in another one, a member
    that stays receives each message once and in order.
    """
    near = make_layer(capacity=100_000)
    far = near if backend.is_memory else make_layer()
    stable = await near.new_channel()
    await near.group_add("room", stable)
    received: list[int] = []

    async def stay() -> None:
        while not received or received[-1] >= 0:
            received.append((await near.receive(stable))["number"])

    async def come_and_go(layer: Any, times: int) -> None:
        for _ in range(times):
            guest = await layer.new_channel()
            await layer.group_add("room", guest)
            await asyncio.sleep(0)
            await layer.close_channel(guest)

    async def talk() -> int:
        number = 0
        while not guests.done():
            await far.group_send("room", {"number": number})
            number += 1
            await asyncio.sleep(0)
        await far.group_send("room", {"number": -1})
        return number

    # Alone in its process, each guest subscribes and unsubscribes; two of them overlap.
    crowds = ((near, JOINS // 4), (near, JOINS // 4), (far, JOINS // 2))
    guests = asyncio.gather(*(come_and_go(layer, times) for layer, times in crowds))
    async with asyncio.timeout(240):  # some 4 s; a starved machine takes long for so many
        (sent, *_) = await asyncio.gather(talk(), stay(), guests)
    assert received == [*range(sent), -1]
    assert sent > JOINS / 10


class Guest(AsyncWebsocketConsumer):
    """Joins two groups and hears what is said there."""

    groups = ("room",)

    async def connect(self) -> None:
        await self.channel_layer.group_add("lobby", self.channel_name)
        await self.accept()

    async def room_text(self, message: dict[str, Any]) -> None:
        await self.send(message["text"])


async def visit() -> None:
    """Connect, hear a message, leave: what a server would call the application with."""
    heard = asyncio.Event()
    events = iter(({"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}))

    async def receive() -> dict[str, Any]:
        event = next(events)
        if event["type"] == "websocket.disconnect":
            await heard.wait()
        return event

    async def send(event: dict[str, Any]) -> None:
        if event["type"] == "websocket.send":
            heard.set()

    await Guest.as_asgi()({"type": "websocket"}, receive, send)


async def connections(layer: InMemoryChannelLayer, count: int) -> None:
    """So many visits, a hundred at a time."""
    for _ in range(count // 100):
        visits = [asyncio.create_task(visit()) for _ in range(100)]
        await eventually(lambda: len(layer.local.members.get("lobby", ())) == 100, "100 guests")
        await layer.group_send("room", {"type": "room.text", "text": "hello"})
        async with asyncio.timeout(30):
            await asyncio.gather(*visits)


@pytest.mark.timeout(60 + 120 * TIMES)
async def test_connections_leave_nothing(memory_layer: InMemoryChannelLayer) -> None:
    """After 2,000 connections the layer holds no channel and no group, the loop no task, and the
    process no more objects than after the first hundred.
    """
    await connections(memory_layer, 100)
    gc.collect()
    objects = len(gc.get_objects())
    await connections(memory_layer, CONNECTIONS)
    gc.collect()
    assert len(gc.get_objects()) - objects < 500
    held = memory_layer.local
    assert (held.mailboxes, held.members, held._groups_of) == ({}, {}, {})
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("backend", ["queue-standalone", "pubsub-standalone"], indirect=True)
async def test_connections_leave_no_key(
    backend: Backend, redis_client: redis.asyncio.Redis
) -> None:
    """Redis holds no more after 500 channels than the log of their group and the inbox of their
    process; when the process has closed its layer nobody listens, and the two expire.
    """
    async with backend.make(expiry=EXPIRY) as layer:
        for _ in range(500):
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            await layer.group_send("room", {})
            await layer.send(channel, {})
            await layer.close_channel(channel)
        held = layer.loop_layer.local
        assert (held.mailboxes, held.members, held._groups_of) == ({}, {}, {})
        assert len(layer.loop_layer._handlers) <= 1  # the inbox's
    assert len(await redis_client.keys(f"{backend.prefix}:*")) <= 2

    async def nobody_listens() -> bool:
        return await redis_client.pubsub_channels(f"{backend.prefix}:*") == []

    async def nothing_left() -> bool:
        return await redis_client.keys(f"{backend.prefix}:*") == []

    await eventually(nobody_listens, "the subscriptions to end")
    await eventually(nothing_left, "the keys to expire", within=EXPIRY * 1.5 + 10)
