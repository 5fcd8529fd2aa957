"""How a process catches up after a broken connection: paced, by what changed, each topic by itself."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fast_channels.layers import RedisChannelLayer
from fast_channels.layers.redis.format import encode, encode_message
from fast_channels.layers.redis.loop_layer import Uids

from ..support.expect import eventually, messages, silence
from ..support.redis_servers import ClusterGroup, RedisServer, SentinelGroup

ROOM = "asgi:g:{room}"
RECONNECTED = {"type": "layer.reconnected"}


@pytest.fixture
async def layer(server: RedisServer) -> AsyncIterator[RedisChannelLayer]:
    async with RedisChannelLayer([server.url], timeout=20) as layer:  # thousands join at once
        yield layer


@pytest.fixture
async def sender(server: RedisServer) -> AsyncIterator[RedisChannelLayer]:
    async with RedisChannelLayer([server.url]) as layer:
        yield layer


async def member(layer: RedisChannelLayer, *groups: str) -> str:
    """A new channel in these groups, whose mailbox a consumer takes from."""
    channel = await layer.new_channel()
    layer.mailbox(channel)
    for group in groups:
        await layer.group_add(group, channel)
    return channel


def cut(server: RedisServer) -> None:
    server.execute("CLIENT", "KILL", "TYPE", "pubsub")


@asynccontextmanager
async def cut_off(layer: RedisChannelLayer, server: RedisServer) -> AsyncIterator[None]:
    """Within, the layer hears nothing: its connection is broken and not made again."""
    kept = layer.loop_layer.topology.listened_at(ROOM)._listening
    opening, go_on = kept._on_open, asyncio.Event()

    async def open_later(connection: Any) -> None:
        await go_on.wait()
        await opening(connection)

    kept._on_open = open_later
    await asyncio.to_thread(cut, server)
    await eventually(lambda: kept.connection is None, "the loss")
    try:
        yield
    finally:
        kept._on_open = opening
        go_on.set()


def behind(layer: RedisChannelLayer) -> int:
    """How many topics have not caught up."""
    return sum(p.behind is not None for p in layer.loop_layer.strategy._positions.values())


async def caught_up(layer: RedisChannelLayer, but: int = 0) -> None:
    place = layer.loop_layer.topology.listened_at(ROOM)

    def is_up() -> bool:
        return place.confirmed(layer.loop_layer.inbox) and behind(layer) == but

    await eventually(is_up, "all topics to catch up", within=60)


def notification(entry: bytes, layer: RedisChannelLayer, message: dict[str, Any]) -> bytes:
    envelope = encode(Uids().make(), [encode_message("", layer.serialize(message))])
    return entry + b" - " + envelope


async def test_a_client_that_does_not_read_delays_nobody(server: RedisServer, layer: Any) -> None:
    """With its mailbox full, in the same group and in another one, what the others missed reaches them,
    and a newcomer joins.
    """
    stalled = await member(layer, "elsewhere", "room")
    reader = await member(layer, "room")
    for number in range(layer.capacity):
        await layer.group_send("elsewhere", {"number": number})
    await eventually(lambda: len(layer.mailbox(stalled)) == layer.capacity, "a full mailbox")
    async with cut_off(layer, server):
        for number in range(1000):
            await layer.group_send("room", {"number": number})
    began = time.monotonic()
    newcomer = await member(layer, "another")
    received = await messages(layer, reader, 1000, within=30)
    assert [message["number"] for message in received] == list(range(1000))
    # Waiting for the stalled one, page by page, takes 10 s; CPU time is not what this is about.
    assert time.monotonic() - began < 5
    await layer.group_send("another", {"type": "hello"})
    assert await messages(layer, newcomer) == [{"type": "hello"}]


async def test_members_that_keep_up_lose_nothing(server: RedisServer, layer: Any) -> None:
    """A topic waits for its own members: many times what a mailbox holds reaches each of them."""
    channels = [await member(layer, "room", f"own.{n}") for n in range(3)]
    async with cut_off(layer, server):
        for number in range(10 * layer.capacity):
            await layer.group_send("room", {"number": number})
    count = 10 * layer.capacity
    received = await asyncio.gather(*(messages(layer, c, count, within=60) for c in channels))
    for heard in received:
        assert [message["number"] for message in heard] == list(range(count))
    assert layer.dropped == 0


async def test_small_mailboxes_get_what_they_hold(server: RedisServer) -> None:
    """A page holds more than they do; it is handed out in parts."""
    async with RedisChannelLayer([server.url], capacity=4) as layer:
        channel = await member(layer, "room")
        async with cut_off(layer, server):
            for number in range(100):
                await layer.group_send("room", {"number": number})
        received = await messages(layer, channel, 100, within=30)
        assert [message["number"] for message in received] == list(range(100))


async def test_a_topic_that_cannot_be_read_hurts_no_other(server: RedisServer, layer: Any) -> None:
    """Its key is no log any more: it is tried again, the others are back; then it is too."""
    spoilt, healthy = await member(layer, "spoilt"), await member(layer, "room")
    async with cut_off(layer, server):
        server.execute("SET", "asgi:g:{spoilt}", "no log")
        await layer.group_send("room", {"number": 1})
    assert await messages(layer, healthy) == [{"number": 1}]
    await caught_up(layer, but=1)
    assert layer.loop_layer.strategy.failures.total > 0
    server.execute("DEL", "asgi:g:{spoilt}")
    await layer.group_send("spoilt", {"number": 2})
    assert await messages(layer, spoilt) == [{"number": 2}]


async def test_a_bug_in_one_topic_hurts_no_other(
    server: RedisServer, layer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the handing out raises, live or recovered, is counted; the connection stays."""
    healthy = await member(layer, "room")
    await member(layer, "broken")
    deliver = layer.loop_layer.local.deliver_group

    def broken(group: str, message: Any) -> None:
        if group == "broken":
            raise RuntimeError("a bug")
        deliver(group, message)

    monkeypatch.setattr(layer.loop_layer.local, "deliver_group", broken)
    connection = layer.loop_layer.topology.listened_at(ROOM)._open
    await layer.group_send("broken", {"number": 0})
    await layer.group_send("room", {"number": 0})
    assert await messages(layer, healthy) == [{"number": 0}]
    assert layer.loop_layer.failures.total == 1
    assert layer.loop_layer.topology.listened_at(ROOM)._open is connection
    async with cut_off(layer, server):
        await layer.group_send("broken", {"number": 1})
        await layer.group_send("room", {"number": 1})
    assert await messages(layer, healthy) == [{"number": 1}]
    await caught_up(layer)
    assert layer.loop_layer.strategy.failures.total == 1


@pytest.mark.parametrize(
    "entry",
    [
        b"no id",
        b"12-",
        b"-12",
        b"1_0-1",
        b"+1-1",
        b" 1-1",
        b"18446744073709551616-0",
        b"1" * 500 + b"-0",
    ],
)
async def test_a_malformed_id_moves_nothing(server: RedisServer, layer: Any, entry: bytes) -> None:
    """The notification is counted as undecodable; what is sent afterwards is heard, live and later."""
    channel = await member(layer, "room")
    await layer.group_send("room", {"number": 1})
    server.execute("PUBLISH", ROOM, notification(entry, layer, {"forged": True}))
    await eventually(lambda: layer.undecodable == 1, "the notification")
    await layer.group_send("room", {"number": 2})
    async with cut_off(layer, server):
        await layer.group_send("room", {"number": 3})
    assert await messages(layer, channel, 3) == [{"number": n} for n in (1, 2, 3)]


@pytest.mark.parametrize("ahead", [20, 10**6, 10**13])
async def test_an_id_of_the_future_is_not_believed(
    server: RedisServer, layer: Any, ahead: int
) -> None:
    """The log is asked, and knows nothing of it; what is missed in the next outage is recovered."""
    channel = await member(layer, "room")
    await layer.group_send("room", {"number": 1})
    entry = b"%d-0" % ((time.time() + ahead) * 1000)
    server.execute("PUBLISH", ROOM, notification(entry, layer, {"forged": True}))
    await layer.group_send("room", {"number": 2})
    async with cut_off(layer, server):
        await layer.group_send("room", {"number": 3})
    assert await messages(layer, channel, 3) == [{"number": n} for n in (1, 2, 3)]
    await silence(layer, channel)


async def test_a_clock_that_ran_ahead_is_believed_from_the_log(
    server: RedisServer, layer: Any
) -> None:
    """Entries really have such ids then: they are heard once each, live, and in the next outage."""
    channel = await member(layer, "room")
    await layer.group_send("room", {"number": 1})
    ahead = int((time.time() + 3600) * 1000)
    parts = [encode_message("", layer.serialize({"number": 2}))]
    server.execute("XADD", ROOM, f"{ahead}-0", "m", encode(Uids().make(), parts))
    for number in (3, 4):
        await layer.group_send("room", {"number": number})  # goes on with the ids of the log
    assert await messages(layer, channel, 4) == [{"number": n} for n in (1, 2, 3, 4)]
    async with cut_off(layer, server):
        await layer.group_send("room", {"number": 5})
    await layer.group_send("room", {"number": 6})
    assert await messages(layer, channel, 2) == [{"number": 5}, {"number": 6}]
    await silence(layer, channel)


async def test_a_log_that_is_older_than_what_was_heard(server: RedisServer, layer: Any) -> None:
    """A server whose clock is behind: what it took in since the loss is handed out after the word of a
    possible gap, and nothing that was heard before.
    """
    channel = await member(layer, "room")
    ahead = int((time.time() + 3600) * 1000)
    parts = [encode_message("", layer.serialize({"number": 1}))]
    envelope = encode(Uids().make(), parts)
    server.execute("XADD", ROOM, f"{ahead}-0", "m", envelope)
    server.execute("PUBLISH", ROOM, f"{ahead}-0 - ".encode() + envelope)
    assert await messages(layer, channel) == [{"number": 1}]
    async with cut_off(layer, server):
        server.execute("DEL", ROOM)
        await layer.group_send("room", {"number": 2})
    assert await messages(layer, channel, 2) == [RECONNECTED, {"number": 2}]
    async with cut_off(layer, server):
        await layer.group_send("room", {"number": 3})
    assert await messages(layer, channel) == [{"number": 3}]
    await silence(layer, channel)


async def test_a_log_that_vanished_is_told(server: RedisServer, layer: Any) -> None:
    """To the members of groups that had one, and not to others."""
    busy, idle = await member(layer, "room"), await member(layer, "idle")
    await layer.group_send("room", {"number": 1})
    assert await messages(layer, busy) == [{"number": 1}]
    async with cut_off(layer, server):
        await layer.group_send("room", {"number": 2})
        server.execute("FLUSHALL")
    assert await messages(layer, busy) == [RECONNECTED]
    await layer.group_send("room", {"number": 3})
    assert await messages(layer, busy) == [{"number": 3}]
    await silence(layer, idle)


async def test_more_than_the_log_keeps_is_told(server: RedisServer) -> None:
    """What is left of it follows the word of the gap."""
    async with RedisChannelLayer([server.url], history=10, capacity=1000) as layer:
        channel = await member(layer, "room")
        await layer.group_send("room", {"number": -1})
        async with cut_off(layer, server):
            for number in range(300):
                await layer.group_send("room", {"number": number})
        await caught_up(layer)
        first, gap, *rest = await messages(layer, channel, len(layer.mailbox(channel)))
        assert (first, gap) == ({"number": -1}, RECONNECTED)
        numbers = [message["number"] for message in rest]
        assert numbers == list(range(numbers[0], 300))
        assert 10 <= len(numbers) < 300


async def test_a_log_trimmed_while_it_is_read_is_told(server: RedisServer) -> None:
    """Between two pages, for which a full mailbox made it wait: the word of the gap stands in it."""
    async with RedisChannelLayer([server.url], history=100, capacity=100) as layer:
        channel = await member(layer, "room")
        async with cut_off(layer, server):
            for number in range(100):
                await layer.group_send("room", {"number": number})
        await eventually(lambda: len(layer.mailbox(channel)) > 50, "the first page")
        later = (layer.group_send("room", {"number": number}) for number in range(100, 600))
        await asyncio.gather(*later)
        received = [await layer.receive(channel)]
        while received[-1] != {"number": 599}:
            async with asyncio.timeout(10):
                received.append(await layer.receive(channel))
    gap = received.index(RECONNECTED)
    numbers = [message["number"] for message in received if message != RECONNECTED]
    assert numbers[:gap] == list(range(gap))
    assert 50 < gap <= 100
    assert numbers[gap:] == list(range(numbers[gap], 600))
    assert numbers[gap] > gap


async def test_newcomers_join_while_thousands_are_subscribed_again(
    server: RedisServer, layer: Any
) -> None:
    """10,000 idle groups are back by one comparison each, in batches; who joins meanwhile waits for
    none of it, and no step holds the loop.
    """
    number = 10_000
    channels = [await layer.new_channel() for _ in range(number)]
    for start in range(0, number, 500):
        some = range(start, start + 500)
        await asyncio.gather(*(layer.group_add(f"g{n}", channels[n]) for n in some))
    steps: list[float] = []
    before = server.execute("INFO", "commandstats")["cmdstat_evalsha"]["calls"]

    async def watch() -> None:
        while True:
            began = time.process_time()
            await asyncio.sleep(0.001)
            steps.append(time.process_time() - began)

    watching = asyncio.create_task(watch())
    await asyncio.to_thread(cut, server)
    place = layer.loop_layer.topology.listened_at(ROOM)
    await eventually(lambda: not place.confirmed("asgi:g:{g0}"), "the loss")
    newcomer = await member(layer, "new")
    await caught_up(layer)
    watching.cancel()
    asked = server.execute("INFO", "commandstats")["cmdstat_evalsha"]["calls"] - before
    assert asked < number / 100
    assert server.execute("INFO", "commandstats").get("cmdstat_xrange", {"calls": 0})["calls"] == 0
    assert max(steps) < 0.1  # s of CPU; 10 to 15 ms are usual
    await layer.group_send("new", {"number": 1})
    await layer.group_send("g7", {"number": 2})
    assert await messages(layer, newcomer) == [{"number": 1}]
    assert await messages(layer, channels[7]) == [{"number": 2}]


async def test_a_topic_given_up_while_it_recovers_drops_out(
    server: RedisServer, layer: Any
) -> None:
    """Nothing is kept of it, and who joins anew gets only what comes then."""
    channel = await member(layer, "room")
    async with cut_off(layer, server):
        for number in range(200):
            await layer.group_send("room", {"number": number})
    await eventually(lambda: len(layer.mailbox(channel)) > 0, "the first page")
    await layer.group_discard("room", channel)
    await layer.close_channel(channel)
    newcomer = await member(layer, "room")
    await caught_up(layer)
    await layer.group_send("room", {"number": "new"})
    assert await messages(layer, newcomer) == [{"number": "new"}]
    assert ROOM in layer.loop_layer.strategy._positions
    await layer.close_channel(newcomer)
    assert list(layer.loop_layer.strategy._positions) == [layer.loop_layer.inbox]


@pytest.fixture(params=["sentinel", "cluster"])
def several(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[RedisServer]]]:
    """The URL of several servers, and those servers."""
    if request.param == "sentinel":
        with SentinelGroup() as sentinels:
            yield sentinels.url, [sentinels.primary()]
    else:
        with ClusterGroup(replicas=0) as cluster:
            yield cluster.url, cluster.nodes


async def test_it_is_the_same_on_several_servers(several: tuple[str, list[RedisServer]]) -> None:
    """300 groups on cut connections, a part of which missed something: each has all of it, once."""
    url, servers = several
    async with RedisChannelLayer([url]) as layer, RedisChannelLayer([url]) as sender:
        channels = [await member(layer, f"g{n}") for n in range(300)]
        for number in range(300):
            await sender.group_send(f"g{number}", {"number": 0})
        for round in (1, 2):
            for server in servers:
                await asyncio.to_thread(cut, server)
            for number in range(0, 300, 3):
                await sender.group_send(f"g{number}", {"number": round})
        for number, channel in enumerate(channels):
            expected = [0] if number % 3 else [0, 1, 2]
            received = await messages(layer, channel, len(expected), within=30)
            assert [message["number"] for message in received] == expected
        await eventually(lambda: behind(layer) == 0, "all topics to catch up", within=30)
        assert all(len(layer.mailbox(channel)) == 0 for channel in channels)
