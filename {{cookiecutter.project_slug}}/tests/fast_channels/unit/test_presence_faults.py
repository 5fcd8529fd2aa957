"""What presence is for: processes that are killed or stand still, servers that restart or lose all."""

import asyncio
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from fast_channels.layers import RedisChannelLayer, RedisPubSubChannelLayer
from fast_channels.presence import Presence

from ..support.children import SOURCES
from ..support.expect import eventually, messages, silence
from ..support.redis_servers import ClusterGroup, RedisServer, SentinelGroup

LEASE = 2.0  # seconds
LAYERS = [RedisChannelLayer, RedisPubSubChannelLayer]

PROGRAM = """
import asyncio, sys
from fast_channels.layers import redis
from fast_channels.presence import Presence

async def main(kind, url, prefix, lease, *keys):
    layer = getattr(redis, kind)([url], prefix, timeout=float(lease) / 2)
    presence = Presence(layer, grace=0.3, lease=float(lease))
    for key in keys:
        await presence.present("room", key, {"of": "the child"}, channel=await layer.new_channel())
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""

Make = Callable[..., Presence]


@pytest.fixture(params=LAYERS, ids=["queue", "pubsub"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def make_with() -> AsyncIterator[Make]:
    """A function that makes one more process of an app, one for each kind of layer, at a URL."""
    prefixes = {kind: f"test-{uuid.uuid4().hex[:8]}" for kind in LAYERS}
    async with AsyncExitStack() as stack:

        def make(kind: Any, url: str, *, lease: float = LEASE) -> Presence:
            layer = kind([url], prefixes[kind], timeout=lease / 2)
            presence = Presence(layer, grace=1.0, lease=lease)
            stack.push_async_callback(layer.aclose)
            stack.push_async_callback(presence.aclose)
            return presence

        yield make


@pytest.fixture
def make(kind: Any, make_with: Make) -> Make:
    """It makes one more process with the layer that is the test's."""
    return partial(make_with, kind)


@contextmanager
def child(presence: Presence, url: str, *keys: str) -> Iterator["subprocess.Popen[str]"]:
    """A process of the same app in which these are present."""
    layer: Any = presence.layer
    arguments = [type(layer).__name__, url, layer.prefix, str(LEASE), *keys]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=SOURCES, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


async def enter(presence: Presence, key: str) -> str:
    channel = await presence.layer.new_channel()
    await presence.present("room", key, {"name": key}, channel=channel)
    return channel


async def watch(presence: Presence) -> str:
    channel = await presence.layer.new_channel()
    await presence.watch("room", channel)
    return channel


async def heard(presence: Presence, channel: str, count: int = 1) -> list[tuple[str, str]]:
    return [
        (message["type"].removeprefix("presence."), message["key"])
        for message in await messages(presence.layer, channel, count)
        if message["type"] != "layer.reconnected"
    ]


async def keys_of(presence: Presence) -> list[str]:
    return [member.key for member in await presence.members("room")]


async def test_a_killed_process(redis_server: RedisServer, make: Make) -> None:
    """Its members leave by its lease, and those that are elsewhere too stay."""
    here = make(redis_server.url)
    listener = await watch(here)
    await enter(here, "ann")
    with child(here, redis_server.url, "ann", "bob", "cem") as process:
        assert set(await heard(here, listener, 4)) == {
            ("joined", "ann"),
            ("updated", "ann"),
            ("joined", "bob"),
            ("joined", "cem"),
        }
        process.kill()
        events = await heard(here, listener, 3)
    assert sorted(events) == [("left", "bob"), ("left", "cem"), ("updated", "ann")]
    assert await keys_of(here) == ["ann"]
    await silence(here.layer, listener)


async def test_nobody_is_left_to_watch_a_killed_process(
    redis_server: RedisServer, make: Make
) -> None:
    """Whoever lists the members next finds none, when the lease has ended; and nothing is written."""
    here = make(redis_server.url)
    other = await here.layer.new_channel()
    await here.present("another", "dia", channel=other)  # and so keeps the registry
    with child(here, redis_server.url, "ann") as process:
        assert await keys_of(here) == ["ann"]
        process.kill()

    async def is_empty() -> bool:
        return await keys_of(here) == []

    await eventually(is_empty, "the members to leave")


async def test_a_process_that_stood_still(redis_server: RedisServer, make: Make) -> None:
    """Longer than its lease: its members leave, and come back when it goes on."""
    here = make(redis_server.url)
    listener = await watch(here)
    with child(here, redis_server.url, "ann") as process:
        assert await heard(here, listener) == [("joined", "ann")]
        process.send_signal(signal.SIGSTOP)
        assert await heard(here, listener) == [("left", "ann")]
        process.send_signal(signal.SIGCONT)
        assert await heard(here, listener) == [("joined", "ann")]
        assert await keys_of(here) == ["ann"]


@pytest.mark.parametrize("appendonly", [True, False], ids=["kept", "lost"])
async def test_the_server_restarts(appendonly: bool, make: Make) -> None:
    """With its data or without: nobody is told that somebody left who is there, and news is heard."""
    with RedisServer(appendonly=appendonly) as server:
        here, elsewhere = make(server.url), make(server.url)
        listener = await watch(here)
        for presence, key in ((here, "ann"), (elsewhere, "bob")):
            await enter(presence, key)
        assert await heard(here, listener, 2) == [("joined", "ann"), ("joined", "bob")]
        await asyncio.to_thread(server.restart)

        async def are_back() -> bool:
            return await keys_of(here) == ["ann", "bob"]

        await eventually(are_back, "both to be listed")
        await enter(elsewhere, "cem")
        events = await heard(here, listener)
        assert (events or await heard(here, listener)) == [("joined", "cem")]


async def test_somebody_empties_the_server(make: Make) -> None:
    """No connection breaks; the lease tells it, and all that is held is written again."""
    with RedisServer() as server:
        here, elsewhere = make(server.url), make(server.url)
        listener = await watch(here)
        await enter(elsewhere, "ann")
        assert await heard(here, listener) == [("joined", "ann")]
        await asyncio.to_thread(server.execute, "FLUSHALL")

        async def is_back() -> bool:
            return await keys_of(here) == ["ann"]

        await eventually(is_back, "ann to be listed again")
        await enter(elsewhere, "bob")
        events = await heard(here, listener)
        while events[-1] != ("joined", "bob"):
            events += await heard(here, listener)
        known = {"ann"}
        for what, key in events:
            assert (key in known) == (what != "joined")
            known = known - {key} if what == "left" else known | {key}
        assert known == {"ann", "bob"}


async def test_whoever_comes_when_the_server_was_emptied(make: Make) -> None:
    """Stands in the list, with those that hold on; nobody is told of twice, and nobody has left."""
    with RedisServer() as server:
        here, elsewhere = make(server.url, lease=30), make(server.url, lease=30)
        listener = await watch(here)
        await enter(elsewhere, "ann")
        assert await heard(here, listener) == [("joined", "ann")]
        await asyncio.to_thread(server.execute, "FLUSHALL")
        channel = await enter(here, "bob")
        assert [one.key for one in await here.watch("room", channel)] == ["ann", "bob"]
        assert await heard(here, listener) == [("joined", "bob")]
        await enter(elsewhere, "ann")  # and so its process finds out what was lost
        await enter(elsewhere, "cem")
        events: list[tuple[str, str]] = []
        while ("joined", "cem") not in events:
            events += await heard(here, listener)
        assert [event for event in events if event[0] != "updated"] == [("joined", "cem")]


async def test_members_of_an_outage(make: Make) -> None:
    """Who comes and goes during it is known when it is over; connections are neither closed nor refused."""
    with RedisServer() as server:
        here, elsewhere = make(server.url), make(server.url)
        listener = await watch(here)
        leaving = await enter(elsewhere, "ann")
        assert await heard(here, listener) == [("joined", "ann")]
        await asyncio.to_thread(server.stop)
        coming = asyncio.create_task(enter(elsewhere, "bob"))
        await asyncio.sleep(0)
        await elsewhere.layer.close_channel(leaving)
        await asyncio.to_thread(server.start)
        await coming
        events: list[tuple[str, str]] = []
        while len(events) < 2:
            events += await heard(here, listener)
        assert sorted(events) == [("joined", "bob"), ("left", "ann")]
        assert await keys_of(elsewhere) == ["bob"]


async def test_a_failover(make_with: Make) -> None:
    """The replica goes on with what it has; what it lacks is written again."""
    with SentinelGroup(password="data", sentinel_password="watch") as group:
        await survive(apps(make_with, group.url), lambda: group.failover())


async def test_a_failover_in_a_cluster(make_with: Make) -> None:
    """Of the node where the group's roster is, and of that with the registry."""
    with ClusterGroup(replicas=1, password="data") as group:
        both = apps(make_with, group.url)
        for key in ("{room}", "{presence}"):  # whatever stands before it
            await survive(both, lambda key=key: lose_primary(group, key))


def apps(make_with: Make, url: str) -> list[tuple[Presence, Presence]]:
    """Two processes of an app with each kind of layer: all live through the same failover."""
    return [(make_with(kind, url, lease=10), make_with(kind, url, lease=10)) for kind in LAYERS]


def lose_primary(group: ClusterGroup, key: str) -> None:
    """Kill it; once another one has taken over it comes back as that one's replica."""
    old = group.primary_of(key)
    group.failover(key)
    old.start()


async def test_a_cluster_without_sharded_notifications(
    cluster_group: ClusterGroup, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As before Redis 7: keys are where their slots are, also for a layer whose topics are no keys."""

    async def is_sharded(connection: Any) -> bool:
        return False

    monkeypatch.setattr("fast_channels.layers.redis.client.cluster._is_sharded", is_sharded)
    here, elsewhere = make(cluster_group.url), make(cluster_group.url)
    for group in ("room", "hall", "yard", "loft"):
        listener = await here.layer.new_channel()
        await here.watch(group, listener)
        channel = await elsewhere.layer.new_channel()
        await elsewhere.present(group, "ann", channel=channel)
        assert await heard(here, listener) == [("joined", "ann")]
        await elsewhere.layer.close_channel(channel)
        assert await heard(here, listener) == [("left", "ann")]


async def survive(apps: list[tuple[Presence, Presence]], failover: Callable[[], object]) -> None:
    begun = await asyncio.gather(*(begin(*app) for app in apps))
    await asyncio.to_thread(failover)
    await asyncio.gather(*(go_on(*app, *one) for app, one in zip(apps, begun, strict=True)))


async def begin(here: Presence, elsewhere: Presence) -> tuple[str, str]:
    listener = await watch(here)
    await enter(here, "ann")
    leaving = await enter(elsewhere, "bob")
    assert await heard(here, listener, 2) == [("joined", "ann"), ("joined", "bob")]
    return listener, leaving


async def go_on(here: Presence, elsewhere: Presence, listener: str, leaving: str) -> None:
    cem = await enter(elsewhere, "cem")
    events: list[tuple[str, str]] = []
    while ("joined", "cem") not in events:
        events += await heard(here, listener)
    assert events == [("joined", "cem")]
    for channel in (leaving, cem):
        await elsewhere.layer.close_channel(channel)
    while len(events) < 3:
        events += await heard(here, listener)
    assert sorted(events[1:]) == [("left", "bob"), ("left", "cem")]
    assert await keys_of(here) == ["ann"]
    for channel in list(here.layer.loop_layer.local.mailboxes):  # type: ignore[attr-defined]
        await here.layer.close_channel(channel)

    async def is_empty() -> bool:
        return await keys_of(elsewhere) == []

    await eventually(is_empty, "everybody to have left")
