"""Outages of the broker: listeners wait through them, senders get one error, and all recovers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from fast_channels.exceptions import ChannelLayerUnavailable
from fast_channels.layers import BaseChannelLayer
from fast_channels.layers.redis.client import commands

from ..support.backends import Backend
from ..support.expect import eventually, messages
from ..support.redis_servers import RedisServer

MakeLayer = Callable[..., Any]

TIMEOUT = 0.5  # seconds
SLACK = 5.0  # seconds, for a machine that is starved


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server of the test's own, whose data survive a kill."""
    with RedisServer(appendonly=True) as running:
        yield running


@pytest.fixture(params=["pubsub-standalone", "queue-standalone"])
async def make_layer(request: pytest.FixtureRequest, server: RedisServer) -> AsyncIterator[Any]:
    backend = Backend(request.param, server.url, prefix="outage")
    async with AsyncExitStack() as stack:

        def make(**options: Any) -> BaseChannelLayer:
            layer = backend.make(**{"timeout": TIMEOUT} | options)
            stack.push_async_callback(layer.aclose)
            return layer

        yield make


async def works(layer: BaseChannelLayer, group: str) -> None:
    """Wait until the layer takes messages again, and they arrive at a new member."""
    channel = await layer.new_channel()

    async def delivers() -> bool:
        try:
            await layer.group_add(group, channel)
            await layer.group_send(group, {"type": "ping"})
        except ChannelLayerUnavailable:
            return False
        return True

    await eventually(delivers, "the layer to work")
    # What was sent in the outage and not confirmed may come too, once the server goes on.
    while await messages(layer, channel) != [{"type": "ping"}]:
        pass


def kill_connections(server: RedisServer) -> None:
    for kind in ("normal", "pubsub"):
        server.execute("CLIENT", "KILL", "TYPE", kind)


async def raises_in_time(layer: BaseChannelLayer) -> None:
    """Each sending operation raises `ChannelLayerUnavailable` within the timeout."""
    clock = asyncio.get_running_loop().time
    channel = await layer.new_channel()
    for operation in (
        layer.send(channel, {}),
        layer.send("named", {}),
        layer.group_send("room", {}),
        layer.group_add("another", channel),
    ):
        started = clock()
        with pytest.raises(ChannelLayerUnavailable):
            await operation
        assert clock() - started < TIMEOUT + SLACK


async def test_a_waiting_receiver_survives_killed_connections(
    make_layer: MakeLayer, server: RedisServer
) -> None:
    """Its `receive` neither raises nor ends, and gets what is sent after the connection is back."""
    layer = make_layer()
    for number in range(5):
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        waiting = asyncio.create_task(layer.receive(channel))
        await asyncio.to_thread(kill_connections, server)

        async def arrived(number: int = number, waiting: Any = waiting) -> bool:
            try:
                await layer.group_send("room", {"number": number})
            except ChannelLayerUnavailable:
                return False
            await asyncio.wait([waiting], timeout=0.05)
            return bool(waiting.done())

        await eventually(arrived, "the message after the kill")
        assert waiting.result() == {"number": number}


async def test_sends_while_the_server_is_gone_raise_in_time(
    make_layer: MakeLayer, server: RedisServer
) -> None:
    """One documented error within `timeout`; a receiver just waits; all works after a restart."""
    layer = make_layer()
    await works(layer, "room")
    channel = await layer.new_channel()
    waiting = [asyncio.create_task(layer.receive(name)) for name in (channel, "named")]
    await asyncio.sleep(0.05)
    server.kill()
    await raises_in_time(layer)
    assert not any(task.done() for task in waiting)
    await asyncio.to_thread(server.start)
    await works(layer, "room")
    await layer.send(channel, {"type": "after"})
    await layer.send("named", {"type": "after"})
    async with asyncio.timeout(30):
        assert await asyncio.gather(*waiting) == [{"type": "after"}] * 2


async def test_sends_to_a_silent_server_raise_in_time(
    make_layer: MakeLayer, server: RedisServer
) -> None:
    """A host that hangs is an outage too, and over when it answers again."""
    layer = make_layer()
    await works(layer, "room")
    server.pause()
    try:
        await raises_in_time(layer)
    finally:
        server.resume()
    await works(layer, "room")


async def test_a_silent_connection_is_given_up(
    make_layer: MakeLayer,
    server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server that says nothing for `REPLY_TIMEOUT` is connected to anew, also by a listener."""
    monkeypatch.setattr(commands, "HEARTBEAT", 0.05)
    monkeypatch.setattr(commands, "REPLY_TIMEOUT", 0.2)
    layer = make_layer()
    await works(layer, "room")
    before = connections(server)
    caplog.clear()
    server.pause()
    try:
        await eventually(lambda: caplog.text.count("no reply") == 2, "both connections' end")
    finally:
        server.resume()
    await works(layer, "room")
    assert not before & connections(server)


def connections(server: RedisServer) -> set[str]:
    """The ids of the clients' connections, without this question's own."""
    lines = server.execute("CLIENT", "LIST").splitlines()
    clients = [dict(field.partition("=")[::2] for field in line.split()) for line in lines]
    return {client["id"] for client in clients if client["cmd"] != "client"}


async def test_an_app_may_start_before_its_broker(
    make_layer: MakeLayer, server: RedisServer
) -> None:
    """`open` and `new_channel` succeed; what was made then works when the server is there."""
    server.kill()
    layer, peer = make_layer(), make_layer()
    await layer.open()
    channel = await layer.new_channel()
    await raises_in_time(layer)
    await asyncio.to_thread(server.start)
    await works(layer, "room")
    await works(peer, "room")

    async def hears() -> bool:
        await peer.send(channel, {"type": "hello"})
        await asyncio.sleep(0.02)
        return len(layer.mailbox(channel)) > 0

    await eventually(hears, "the early channel to receive")


async def test_closing_in_an_outage(make_layer: MakeLayer, server: RedisServer) -> None:
    """`aclose` ends at once, also when the connections break in the same moment."""
    layers = [make_layer() for _ in range(5)]
    for layer in layers:
        await works(layer, "room")
    server.kill()
    async with asyncio.timeout(SLACK):
        await asyncio.gather(*(layer.aclose() for layer in layers))
