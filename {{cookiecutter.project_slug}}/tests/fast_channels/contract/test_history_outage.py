"""Positions through what befalls a Redis: complete is told only where nothing can be missing."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from fast_channels.exceptions import ChannelLayerUnavailable, ChannelNotOwned
from fast_channels.layers import POSITION, History, Joined, RedisChannelLayer
from fast_channels.layers.redis import group_history
from fast_channels.layers.redis.format import encode_message
from fast_channels.recovery import follow

from ..support.expect import eventually
from ..support.redis_servers import ClusterGroup, RedisServer, SentinelGroup

GROUP = "room.lobby"
KEPT = {"*": History(messages=1000, seconds=600)}

MakeLayer = Callable[..., RedisChannelLayer]


@pytest.fixture
async def make_layer() -> AsyncIterator[MakeLayer]:
    """A process's own layer each time."""
    async with AsyncExitStack() as stack:

        def make(url: str, **options: Any) -> RedisChannelLayer:
            layer = RedisChannelLayer([url], group_history=KEPT, **options)
            stack.push_async_callback(layer.aclose)
            return layer

        yield make


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer(appendonly=True) as running:
        yield running


async def say(layer: RedisChannelLayer, *numbers: int) -> None:
    for number in numbers:
        await layer.group_send(GROUP, {"type": "said", "number": number})


def numbers(joined: Joined) -> list[int]:
    return [message["number"] for message in joined.messages]


async def visit(layer: RedisChannelLayer, since: str | None = None, history: int = 0) -> Joined:
    async with follow(layer, GROUP, since=since, history=history) as following:
        return following.joined


async def reached(layer: RedisChannelLayer) -> None:
    """A message of another group goes through again."""

    async def goes_through() -> bool:
        try:
            await layer.group_send("other", {"type": "said"})
        except ChannelLayerUnavailable:
            return False
        return True

    async with asyncio.timeout(60):
        while not await goes_through():
            await asyncio.sleep(0.05)


async def test_a_restarted_server_proves_nothing(
    make_layer: MakeLayer, server: RedisServer
) -> None:
    """All that it has comes, but that it has all is not said; from then on it is again."""
    layer = make_layer(server.url)
    await say(layer, 0)
    before = await visit(layer)
    await say(layer, 1, 2)
    await asyncio.to_thread(server.restart)
    await reached(layer)
    after = await visit(layer, before.position, history=10)
    assert (numbers(after), after.complete) == ([1, 2], False)
    await say(layer, 3)
    again = await visit(make_layer(server.url), after.position)
    assert (numbers(again), again.complete) == ([3], True)


async def test_a_server_restored_from_an_older_state(make_layer: MakeLayer) -> None:
    """It lacks messages that were accepted, and has others since: no position may hide that."""
    with RedisServer() as server:
        layer = make_layer(server.url)
        await say(layer, 0)
        before = await visit(layer)
        await asyncio.to_thread(server.execute, "SAVE")
        await say(layer, 1, 2)
        later = await visit(layer)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await reached(layer)
        await say(layer, 3)
        for position in (before.position, later.position):
            assert not (await visit(layer, position, history=10)).complete


async def test_an_emptied_server_proves_nothing(make_layer: MakeLayer, server: RedisServer) -> None:
    """Not even that a group, in which nothing had been said, is still silent."""
    layer = make_layer(server.url)
    silent = await visit(layer)
    await say(layer, 1)
    spoken = await visit(layer)
    await asyncio.to_thread(server.execute, "FLUSHALL")
    for position in (silent.position, spoken.position):
        assert not (await visit(layer, position, history=10)).complete
    await say(layer, 2)
    for position in (silent.position, spoken.position):
        joined = await visit(layer, position, history=10)
        assert (numbers(joined), joined.complete) == ([2], False)


async def test_a_failover_and_the_way_back(make_layer: MakeLayer) -> None:
    """Each primary's reign is an epoch, also the second one of the same server."""
    with SentinelGroup(password="data", sentinel_password="watch") as group:
        layer = make_layer(group.url, timeout=20)
        await say(layer, 0)
        first = await visit(layer)
        for number in (1, 2):
            await asyncio.to_thread(group.failover)
            await reached(layer)
            await say(layer, number)
            assert not (await visit(layer, first.position, history=10)).complete
        now = await visit(layer, history=10)
        await say(layer, 3)
        assert numbers(await visit(layer, now.position)) == [3]


async def test_a_cluster_node_fails_over(make_layer: MakeLayer) -> None:
    """The primary of the group's slot is another one: it proves nothing about the time before."""
    with ClusterGroup(password="data", replicas=1) as cluster:
        layer = make_layer(cluster.url, timeout=20)
        await say(layer, 0)
        first = await visit(layer)
        await asyncio.to_thread(cluster.failover, layer._config.topics.group(GROUP))
        await reached(layer)
        await say(layer, 1)
        assert not (await visit(layer, first.position, history=10)).complete


async def test_a_follower_through_an_outage(make_layer: MakeLayer, server: RedisServer) -> None:
    """It stays a member; events go on, and their positions are of the new epoch."""
    layer, sender = make_layer(server.url), make_layer(server.url, timeout=20)
    async with follow(layer, GROUP) as following:
        await say(sender, 0)
        await asyncio.to_thread(server.restart)
        await say(sender, 1, 2)
        events = []
        async with asyncio.timeout(30):
            async for event in following:
                if event["type"] == "said":
                    events.append(event)
                if len(events) == 3:
                    break
    assert [event["number"] for event in events] == [0, 1, 2]
    await say(sender, 3)
    joined = await visit(sender, events[-1][POSITION])
    assert (numbers(joined), joined.complete) == ([3], True)


async def test_joining_during_an_outage(make_layer: MakeLayer, server: RedisServer) -> None:
    """It is refused in time, and the receiver is no member; when the server is back it joins."""
    layer = make_layer(server.url, timeout=1)
    await say(layer, 0)
    before = await visit(layer)
    channel = await layer.new_channel()
    await asyncio.to_thread(server.stop)
    for _ in range(2):
        async with asyncio.timeout(20):
            with pytest.raises(ChannelLayerUnavailable):
                await layer.join(GROUP, channel, since=before.position)
    assert not layer.loop_layer.local.members.get(GROUP)
    assert not layer.loop_layer.local.followers
    await asyncio.to_thread(server.start)
    await reached(layer)
    await say(layer, 1)
    joined = await layer.join(GROUP, channel, since=before.position, history=10)
    assert numbers(joined) == [1]


async def test_what_is_said_in_the_moment_of_joining(
    make_layer: MakeLayer, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the reading of the log and the answer to the receiver: it comes, and its positions prove."""
    layer, sender = make_layer(server.url), make_layer(server.url)
    read = group_history.read_history

    async def read_and_speak(*arguments: Any, **options: Any) -> group_history.Found:
        found = await read(*arguments, **options)
        await say(sender, 1, 2)
        strategy: Any = layer.loop_layer.strategy
        (replay,) = strategy._interests[arguments[1]].replays.values()
        await eventually(lambda: len(replay.held) == 2, "both to be heard", within=10)
        return found

    channel = await layer.new_channel()
    with monkeypatch.context() as patch:
        patch.setattr(group_history, "read_history", read_and_speak)
        joined = await layer.join(GROUP, channel)
    assert numbers(joined) == [1, 2]
    for position, missed in ((joined.position, []), (joined.messages[0][POSITION], [2])):
        back = await visit(sender, position)
        assert (numbers(back), back.complete) == (missed, True)


async def test_a_channel_that_is_closed_while_it_joins(
    make_layer: MakeLayer, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller is told, and nothing of it stays behind."""
    layer = make_layer(server.url)
    other, channel = await layer.new_channel(), await layer.new_channel()
    await layer.group_add(GROUP, other)  # the group is listened to all the time
    read = group_history.read_history

    async def read_and_close(*arguments: Any, **options: Any) -> group_history.Found:
        found = await read(*arguments, **options)
        await layer.close_channel(channel)
        return found

    monkeypatch.setattr(group_history, "read_history", read_and_close)
    with pytest.raises(ChannelNotOwned):
        await layer.join(GROUP, channel)
    assert layer.loop_layer.local.followers == {}


async def test_a_stampede_reads_the_log_once(make_layer: MakeLayer, server: RedisServer) -> None:
    """5,000 receivers that ask for the same, beside a sender: one reading, and each gets all of it."""
    layer, sender = make_layer(server.url, timeout=60), make_layer(server.url)
    before = await visit(layer)
    await say(sender, *range(20))
    channels = [await layer.new_channel() for _ in range(5000)]
    await asyncio.to_thread(server.execute, "CONFIG", "RESETSTAT")
    joins = asyncio.gather(*(layer.join(GROUP, one, since=before.position) for one in channels))
    await say(sender, *range(20, 30))
    for channel, joined in zip(channels, await joins, strict=True):
        assert joined.complete
        rest = [(await layer.receive(channel))["number"] for _ in range(30 - len(numbers(joined)))]
        assert numbers(joined) + rest == list(range(30))
    statistics = await asyncio.to_thread(server.execute, "INFO", "commandstats")
    assert statistics["cmdstat_info"]["calls"] == 2  # of one reading


async def test_receivers_come_and_go_while_connections_break(
    make_layer: MakeLayer, server: RedisServer
) -> None:
    """Six receivers on two processes leave and come back all the time, under 20 kills: each of them gets
    600 messages once and in order, and each return is complete.
    """
    layers = [make_layer(server.url, timeout=20) for _ in range(2)]
    sender = make_layer(server.url, timeout=20)
    count = 600

    async def receive(seed: int) -> list[int]:
        chance, heard, position = random.Random(seed), [], None
        while len(heard) < count:
            layer = chance.choice(layers)
            async with follow(layer, GROUP, since=position, history=count) as following:
                assert following.joined.complete
                heard += numbers(following.joined)
                position = following.joined.position
                for _ in range(min(chance.randrange(20), count - len(heard))):
                    event = await following.mailbox.get()
                    if event["type"] == "said":
                        heard.append(event["number"])
                        position = event[POSITION]
        return heard

    async def disturb() -> None:
        for number in range(20):
            kind = ("normal", "pubsub")[number % 2]
            await asyncio.to_thread(server.execute, "CLIENT", "KILL", "TYPE", kind)
            await asyncio.sleep(0.05)

    async with asyncio.timeout(120):
        receivers = [asyncio.create_task(receive(seed)) for seed in range(6)]
        disturbing = asyncio.create_task(disturb())
        await say(sender, *range(count))
        await disturbing
        for heard in await asyncio.gather(*receivers):
            assert heard == list(range(count))


async def test_a_primary_whose_clock_is_behind(make_layer: MakeLayer, server: RedisServer) -> None:
    """The log's newest id is of the old one's time, an hour ahead; events go on from there."""
    layer = make_layer(server.url)
    await say(layer, 0)
    topic = layer._config.topics.group(GROUP)
    await asyncio.to_thread(server.execute, "XADD", topic, "9999999999999-0", "x", "y" * 16)
    before = await visit(layer)
    async with follow(layer, GROUP) as following:
        await say(layer, 1, 2)
        async with asyncio.timeout(30):
            heard = [await following.mailbox.get() for _ in range(2)]
    assert [event["number"] for event in heard] == [1, 2]
    joined = await visit(make_layer(server.url), before.position)
    assert (numbers(joined), joined.complete) == ([1, 2], True)


async def test_encrypted_messages_and_a_lost_key(
    make_layer: MakeLayer, server: RedisServer
) -> None:
    """They are decrypted where they stand; what cannot be decrypted is missing."""
    layer = make_layer(server.url, symmetric_encryption_keys=["one"])
    before = await visit(layer)
    await asyncio.gather(*(say(layer, number) for number in range(5)))
    joined = await visit(layer, before.position)
    assert (numbers(joined), joined.complete) == ([0, 1, 2, 3, 4], True)
    other = make_layer(server.url, symmetric_encryption_keys=["another"])
    await say(other, 5)
    for one, readable in ((layer, [0, 1, 2, 3, 4]), (other, [5])):
        joined = await visit(one, before.position)
        assert (numbers(joined), joined.complete) == (readable, False)


async def test_a_sender_that_repeated_itself(make_layer: MakeLayer, server: RedisServer) -> None:
    """A message that is in the log twice, under one uid, comes once: also to a receiver that joined
    between the two, and to one that comes back then.
    """
    layer = make_layer(server.url)
    inner = layer.loop_layer
    before = await visit(layer)
    topic = layer._config.topics.group(GROUP)
    payload = {"type": "said", "number": 7}
    async with follow(make_layer(server.url), GROUP) as earlier:
        message = encode_message("", inner.serialize(payload))
        commands, command = inner.batch_request(topic, [message])
        await commands.execute(*command)
        between = await visit(layer, before.position)
        assert numbers(between) == [7]
        async with follow(make_layer(server.url), GROUP, since=before.position) as later:
            assert numbers(later.joined) == [7]
            await commands.execute(*command)
            await say(layer, 8)
            async with asyncio.timeout(20):
                assert (await later.mailbox.get())["number"] == 8
                assert [(await earlier.mailbox.get())["number"] for _ in range(2)] == [7, 8]
        assert numbers(await visit(layer, between.position)) == [8]
        assert numbers(await visit(layer, before.position)) == [7, 8]


async def test_a_user_that_may_not_call_info(make_layer: MakeLayer, server: RedisServer) -> None:
    """The epoch is unknown then: messages come, and complete is never told."""
    rules = ("on", ">secret", "~*", "&*", "+@all", "-info")
    await asyncio.to_thread(server.execute, "ACL", "SETUSER", "app", *rules)
    layer = make_layer(server.url.replace("redis://", "redis://app:secret@"))
    before = await visit(layer)
    await say(layer, 0)
    joined = await visit(layer, before.position, history=5)
    assert (numbers(joined), joined.complete) == ([0], False)


async def test_a_joining_behind_one_that_fails(
    make_layer: MakeLayer, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said before the second one's answer is in that, and is not delivered to it as well."""
    layer, sender = make_layer(server.url), make_layer(server.url)
    inner: Any = layer.loop_layer
    first, second = [await layer.new_channel() for _ in range(2)]
    join, waits = inner.join, asyncio.Event()

    async def join_and_fail_or_speak(group: str, channel: str) -> None:
        await join(group, channel)
        if channel == first:
            await waits.wait()
            raise ChannelLayerUnavailable("in the middle of it")
        await say(sender, 1)
        position = inner.strategy._positions[inner.config.topics.group(group)]
        await eventually(lambda: position.last > position.joined, "it to be heard", within=10)

    monkeypatch.setattr(inner, "join", join_and_fail_or_speak)
    failing = asyncio.create_task(layer.join(GROUP, first))
    await eventually(lambda: first in inner.local.members.get(GROUP, ()), "the first one")
    behind = asyncio.create_task(layer.join(GROUP, second, history=10))
    await asyncio.sleep(0)  # until it waits for the first one
    waits.set()
    with pytest.raises(ChannelLayerUnavailable):
        await failing
    assert numbers(await behind) == [1]
    assert not len(layer.mailbox(second))


async def test_forgotten_when_nobody_follows(make_layer: MakeLayer, server: RedisServer) -> None:
    """Neither topics nor replays stay behind."""
    layer = make_layer(server.url)
    await visit(layer)
    await eventually(lambda: not layer.loop_layer.strategy._interests, "no interest", within=10)
    assert not layer.loop_layer.local.followers
