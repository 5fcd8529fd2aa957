"""Groups: what is sent to one reaches each member once, and nobody else.

This is asked here, once, of each layer on each topology; random sequences of the same operations are in
`unit/test_properties_layers.py`. Other tests send to groups to ask something else.
"""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from redis.asyncio import Redis

from fast_channels.exceptions import ChannelLayerUnavailable, ChannelNotOwned
from fast_channels.layers import BaseChannelLayer

from ..support.backends import REDIS, WORK, Backend, over
from ..support.expect import messages, silence
from ..support.redis_servers import RedisServer

MakeLayer = Callable[..., BaseChannelLayer]


async def test_each_member_receives_once(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """Members in both processes get the message; a channel that is no member does not."""
    members = [(one, await one.new_channel()) for one in (layer, layer, peer_layer)]
    outsider = await layer.new_channel()
    for one, channel in members:
        await one.group_add("room", channel)
    await peer_layer.group_send("room", {"type": "hello"})
    for one, channel in members:
        assert await messages(one, channel) == [{"type": "hello"}]
        await silence(one, channel)
    await silence(layer, outsider)


async def test_order_is_kept_between_groups_and_channels_of_one_sender(
    make_layer: MakeLayer,
) -> None:
    """A sender's group messages arrive in its order at every member."""
    layer = make_layer(capacity=1000)
    channels = [await layer.new_channel() for _ in range(3)]
    for channel in channels:
        await layer.group_add("room", channel)
    for number in range(300):
        await layer.group_send("room", {"number": number})
    for channel in channels:
        received = await messages(layer, channel, 300)
        assert [message["number"] for message in received] == list(range(300))


async def test_a_member_that_left_receives_no_more(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """`group_discard` ends one membership and leaves the others; twice is no error."""
    leaver, stayer = await layer.new_channel(), await layer.new_channel()
    for channel in (leaver, stayer):
        await layer.group_add("room", channel)
    await layer.group_discard("room", leaver)
    await layer.group_discard("room", leaver)
    await layer.group_discard("another", leaver)
    await peer_layer.group_send("room", {"type": "hello"})
    assert await messages(layer, stayer) == [{"type": "hello"}]
    await silence(layer, leaver)


async def test_a_last_member_may_come_back(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """A group that nobody was in for a moment works again, as often as it happens."""
    channel = await layer.new_channel()
    for number in range(20):
        await layer.group_add("room", channel)
        await peer_layer.group_send("room", {"number": number})
        assert await messages(layer, channel) == [{"number": number}]
        await layer.group_discard("room", channel)
        await peer_layer.group_send("room", {"number": "missed"})
    await silence(layer, channel)


async def test_many_come_and_go_at_once(layer: BaseChannelLayer) -> None:
    """Each hears what it says itself, whoever joins or leaves the same groups meanwhile."""

    async def come_and_go(lane: int) -> None:
        for number in range(30):
            channel, group = await layer.new_channel(), f"g{number % 3}"
            await layer.group_add(group, channel)
            await layer.group_send(group, {"lane": lane, "number": number})
            while await layer.receive(channel) != {"lane": lane, "number": number}:
                pass
            await layer.close_channel(channel)

    async with asyncio.timeout(60):
        await asyncio.gather(*map(come_and_go, range(20)))


async def test_a_join_that_is_cancelled_takes_the_group_from_nobody(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """Although all of them join at once, and each cancelled one at another step of its joining."""
    stayer = await layer.new_channel()
    for number in range(30):
        channels = [await layer.new_channel() for _ in range(4)]
        group = f"g{number}"
        joins = [asyncio.create_task(layer.group_add(group, channel)) for channel in channels]
        for _ in range(number):
            await asyncio.sleep(0)
        stays = asyncio.create_task(layer.group_add(group, stayer))
        await asyncio.sleep(0)
        for join in joins:
            join.cancel()
        await stays
        await peer_layer.group_send(group, {"number": number})
        assert await messages(layer, stayer) == [{"number": number}]
        await layer.group_discard(group, stayer)


async def test_joining_twice_delivers_once(layer: BaseChannelLayer) -> None:
    """A group is a set: a second `group_add` changes nothing, one `group_discard` ends it."""
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_add("room", channel)
    await layer.group_send("room", {"type": "once"})
    assert await messages(layer, channel) == [{"type": "once"}]
    await layer.group_discard("room", channel)
    await layer.group_send("room", {"type": "never"})
    await silence(layer, channel)


async def test_what_was_sent_before_the_joining_is_not_received(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """A member gets what is sent after `group_add` returned, and no history."""
    first, second = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("room", first)
    await peer_layer.group_send("room", {"type": "before"})
    assert await messages(layer, first) == [{"type": "before"}]
    await layer.group_add("room", second)
    await peer_layer.group_send("room", {"type": "after"})
    assert await messages(layer, second) == [{"type": "after"}]


async def test_many_groups_at_once(layer: BaseChannelLayer, peer_layer: BaseChannelLayer) -> None:
    """200 groups with a member each, joined concurrently: each gets its own message only."""
    channels = [await layer.new_channel() for _ in range(200)]
    await asyncio.gather(*(layer.group_add(f"g{i}", c) for i, c in enumerate(channels)))
    await asyncio.gather(*(peer_layer.group_send(f"g{i}", {"for": i}) for i in range(200)))
    for number, channel in enumerate(channels):
        assert await messages(layer, channel) == [{"for": number}]
    assert all(len(layer.mailbox(channel)) == 0 for channel in channels)


async def test_a_channel_in_many_groups_hears_all(
    layer: BaseChannelLayer, backend: Backend
) -> None:
    """One channel, 50 groups, one message through each; in order where one server carries all."""
    channel = await layer.new_channel()
    for number in range(50):
        await layer.group_add(f"g{number}", channel)
    for number in range(50):
        await layer.group_send(f"g{number}", {"number": number})
    numbers = [message["number"] for message in await messages(layer, channel, 50)]
    if backend.name.endswith("cluster"):
        numbers.sort()
    assert numbers == list(range(50))


async def test_each_receiver_has_a_copy_of_its_own(layer: BaseChannelLayer) -> None:
    """What one receiver does to its message, no other sees, however deep."""
    channels = [await layer.new_channel() for _ in range(3)]
    for channel in channels:
        await layer.group_add("room", channel)
    await layer.group_send("room", {"deep": {"list": [1]}, "flat": 1})
    for channel in channels:
        (message,) = await messages(layer, channel)
        assert message == {"deep": {"list": [1]}, "flat": 1}
        message["deep"]["list"].append(2)
        message["flat"] = 2


async def test_a_closed_channel_has_left_its_groups(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """`close_channel` ends every membership; the other members stay."""
    closed, other = await layer.new_channel(), await layer.new_channel()
    for channel in (closed, other):
        await layer.group_add("room", channel)
    await layer.close_channel(closed)
    await peer_layer.group_send("room", {"type": "hello"})
    assert await messages(layer, other) == [{"type": "hello"}]
    with pytest.raises(ChannelNotOwned, match=closed):
        await layer.receive(closed)


async def test_another_processes_channel_is_a_member_when_group_add_returns(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """It hears all that is sent from then on, and nothing after `group_discard` has returned."""
    channels = [await layer.new_channel() for _ in range(50)]
    for number, channel in enumerate(channels):
        await peer_layer.group_add(f"g{number}", channel)
        await peer_layer.group_send(f"g{number}", {"number": number})
        assert await messages(layer, channel) == [{"number": number}]
        await peer_layer.group_discard(f"g{number}", channel)
        await peer_layer.group_send(f"g{number}", {"number": "missed"})
    for channel in channels:
        await peer_layer.send(channel, {"number": "last"})
        assert await messages(layer, channel) == [{"number": "last"}]


async def test_a_closed_channel_becomes_no_member(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """Adding it is no error, for its owner or for another process, and makes nothing of it."""
    closed = await layer.new_channel()
    await layer.close_channel(closed)
    for one in (layer, peer_layer):
        await one.group_add("room", closed)
        await one.group_discard("another", closed)
        await one.group_send("room", {"type": "hello"})
    with pytest.raises(ChannelNotOwned, match=closed):
        await layer.receive(closed)


@over(REDIS)
async def test_a_channel_of_a_process_that_does_not_answer(make_layer: MakeLayer) -> None:
    """`group_add` and `group_discard` say after `timeout` that nothing was confirmed."""
    gone = make_layer()
    channel = await gone.new_channel()
    await gone.aclose()
    layer = make_layer(timeout=1.5)  # within which it also connects, on a busy machine
    changes = (layer.group_add("room", channel), layer.group_discard("hall", channel))
    for error in await asyncio.gather(*changes, return_exceptions=True):
        assert isinstance(error, ChannelLayerUnavailable)
        assert f"{channel} did not confirm within 1.5" in str(error)


@over(["queue-standalone"])
async def test_a_membership_that_its_owner_cannot_change(
    backend: Backend, layer: BaseChannelLayer, peer_layer: BaseChannelLayer, redis_client: Redis
) -> None:
    """The other process is told why; here another program has taken the name of the group's log."""
    channel = await layer.new_channel()
    await redis_client.set(f"{backend.prefix}:g:{{spoilt}}", "no log")
    with pytest.raises(ChannelLayerUnavailable, match=r"could not change .* spoilt: .*WRONGTYPE"):
        await peer_layer.group_add("spoilt", channel)


@over(REDIS)
async def test_receiving_on_another_processes_channel(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """It is an error that names the channel: its messages never come here."""
    channel = await peer_layer.new_channel()
    with pytest.raises(ChannelNotOwned, match=channel):
        await layer.receive(channel)


@over(WORK)
async def test_a_named_channel_can_be_a_member(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """What is sent to the group waits in the named channel for one receiver, wherever it is."""
    await layer.group_add("everyone", "audit")
    await peer_layer.group_send("everyone", {"number": 1})
    await layer.group_send("everyone", {"number": 2})
    received = await messages(peer_layer, "audit", 2)
    assert sorted(message["number"] for message in received) == [1, 2]
    await layer.group_discard("everyone", "audit")
    await layer.group_send("everyone", {"number": 3})
    await silence(peer_layer, "audit")


@pytest.fixture
def second_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@over(["pubsub-standalone", "queue-standalone"])
async def test_each_group_is_on_one_of_two_servers(
    backend: Backend, make_layer: MakeLayer, second_server: RedisServer
) -> None:
    """12 consumers in 12 processes: each hears what is sent to it and to its group."""
    hosts = [backend.url, second_server.url]
    layers = [make_layer(hosts=hosts) for _ in range(12)]
    channels = [await layer.new_channel() for layer in layers]
    for number, (layer, channel) in enumerate(zip(layers, channels, strict=True)):
        await layer.group_add(f"g{number}", channel)
    for number, channel in enumerate(channels):
        await layers[0].send(channel, {"direct": number})
        await layers[0].group_send(f"g{number}", {"group": number})
    for number, (layer, channel) in enumerate(zip(layers, channels, strict=True)):
        received = await messages(layer, channel, 2)
        assert {"direct": number} in received
        assert {"group": number} in received
