"""Joining a group where the receiver left it: what it missed comes once and in order, or it is told."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from fast_channels.exceptions import ChannelNotOwned
from fast_channels.layers import POSITION, BaseChannelLayer, History, Joined
from fast_channels.recovery import follow

from ..support.backends import MEMORY, PUBSUB, QUEUE, Backend, over
from .conftest import MakeLayer

GROUP = "room.lobby"
KEPT = {"room.*": History(messages=100, seconds=600)}
LOGS = over(MEMORY, QUEUE)


@pytest.fixture
async def layer(make_layer: MakeLayer, backend: Backend) -> BaseChannelLayer:
    return make_layer() if backend.name in PUBSUB else make_layer(group_history=KEPT)


@pytest.fixture
async def peer_layer(
    backend: Backend, make_layer: MakeLayer, layer: BaseChannelLayer
) -> BaseChannelLayer:
    if backend.is_memory:
        return layer
    return make_layer() if backend.name in PUBSUB else make_layer(group_history=KEPT)


async def say(layer: BaseChannelLayer, numbers: Iterable[int], group: str = GROUP) -> None:
    for number in numbers:
        await layer.group_send(group, {"type": "said", "number": number})
        await asyncio.sleep(0)


def numbers(messages: Iterable[dict[str, Any]]) -> list[int]:
    return [message["number"] for message in messages]


async def take(layer: BaseChannelLayer, channel: str, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(20):
        return [await layer.receive(channel) for _ in range(count)]


async def visit(
    layer: BaseChannelLayer, since: str | None = None, history: int = 0, group: str = GROUP
) -> Joined:
    async with follow(layer, group, since=since, history=history) as following:
        return following.joined


@LOGS
async def test_a_newcomer_gets_the_last_messages(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """As many as it asks for, the oldest first; what is said from then on is delivered, with positions."""
    await say(peer_layer, range(5))
    channel = await layer.new_channel()
    joined = await layer.join(GROUP, channel, history=3)
    assert (numbers(joined.messages), joined.complete) == ([2, 3, 4], True)
    assert joined.messages[-1][POSITION] == joined.position
    await say(peer_layer, range(5, 8))
    events = await take(layer, channel, 3)
    assert numbers(events) == [5, 6, 7]
    assert len({event[POSITION] for event in events} | {joined.position}) == 4


@LOGS
async def test_what_was_missed_comes_once_and_in_order(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """From any position, that of an event or of a joining, to whichever process the receiver comes back."""
    first = await visit(layer)
    await say(layer, range(10))
    all_of_them = await visit(peer_layer, first.position)
    assert (numbers(all_of_them.messages), all_of_them.complete) == (list(range(10)), True)
    for number, message in enumerate(all_of_them.messages):
        since = await visit(layer, message[POSITION])
        assert (numbers(since.messages), since.complete) == (list(range(number + 1, 10)), True)
        assert since.position == all_of_them.position


@LOGS
async def test_a_publication_that_was_cut_in_the_middle(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """Messages that left together have positions of their own."""
    channel = await layer.new_channel()
    await layer.join(GROUP, channel)
    sends = [peer_layer.group_send(GROUP, {"type": "said", "number": n}) for n in range(30)]
    await asyncio.gather(*sends)
    events = await take(layer, channel, 30)
    assert numbers(events) == list(range(30))
    for event in events[::7]:
        back = await visit(peer_layer, event[POSITION])
        assert (numbers(back.messages), back.complete) == (
            list(range(event["number"] + 1, 30)),
            True,
        )


@LOGS
async def test_joins_amid_a_stream_have_no_hole(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """A receiver that leaves and comes back again and again, while messages flow, gets each one once."""
    sender = asyncio.create_task(say(peer_layer, range(400)))
    heard: list[int] = []
    position: str | None = None
    async with asyncio.timeout(60):
        while len(heard) < 400:
            async with follow(layer, GROUP, since=position, history=400) as following:
                assert following.joined.complete
                heard += numbers(following.joined.messages)
                position = following.joined.position
                for _ in range(min(3, 400 - len(heard))):
                    event = await following.mailbox.get()
                    heard.append(event["number"])
                    position = event[POSITION]
    await sender
    assert heard == list(range(400))


@LOGS
async def test_many_receivers_come_back_at_once(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """Each gets all that it missed, in messages of its own, and what is said from then on."""
    first = await visit(layer)
    await say(peer_layer, range(20))
    channels = [await layer.new_channel() for _ in range(200)]
    joins = [layer.join(GROUP, channel, since=first.position) for channel in channels]
    sender = asyncio.create_task(say(peer_layer, range(20, 40)))
    joined = await asyncio.gather(*joins)
    await sender
    for channel, one in zip(channels, joined, strict=True):
        rest = await take(layer, channel, 40 - len(one.messages))
        assert numbers(one.messages) + numbers(rest) == list(range(40))
    joined[0].messages[0]["number"] = "changed"
    assert joined[1].messages[0]["number"] == 0


NO_POSITIONS = [
    *("", ".", "..", "x", "a.b.c", "0.0-0.0", "\x00", "é", "a" * 10_000, "1" * 5000),
    *(".1-1.0123456789abcdef", "abc.1-1.0123456789abcdef"),
    "abc.99999999999999999999-0." + "0" * 16,
    *("deadbeef.1", "deadbeef.-1", "deadbeef.²", "abc.0-0." + "f" * 16, "abc.+-1." + "f" * 16),
]


@LOGS
async def test_a_position_that_is_none_proves_nothing(layer: BaseChannelLayer) -> None:
    """It may come from any client: the receiver joins all the same and gets the last messages."""
    await say(layer, range(3))
    for position in NO_POSITIONS:
        joined = await visit(layer, position, history=2)
        assert (numbers(joined.messages), joined.complete) == ([1, 2], False), position[:80]


@LOGS
async def test_a_position_of_another_group_or_a_changed_one(layer: BaseChannelLayer) -> None:
    """Neither stands in the group's log, in its epoch."""
    await asyncio.gather(say(layer, range(3)), say(layer, range(3), "room.other"))
    other = (await visit(layer, group="room.other")).position
    own = (await visit(layer)).position
    for position in (other, own[:-1] + "x", own + "0"):
        joined = await visit(layer, position, history=1)
        assert (numbers(joined.messages), joined.complete) == ([2], False), position
    epoch_of_another = "0" + own[1:] if own[0] != "0" else "1" + own[1:]
    assert not (await visit(layer, epoch_of_another, history=1)).complete


@LOGS
async def test_more_was_missed_than_is_kept_or_brought(
    make_layer: MakeLayer, backend: Backend
) -> None:
    """A log that was trimmed, and more than a joining brings: the last messages, and not complete."""
    layer = make_layer(group_history={"short.*": History(10, 600), "long.*": History(5000, 600)})
    for group, kept in (("short.one", 1000), ("long.one", 1200)):
        first = await visit(layer, group=group)
        sends = [layer.group_send(group, {"type": "said", "number": n}) for n in range(kept)]
        await asyncio.gather(*sends)
        joined = await visit(layer, first.position, history=5, group=group)
        assert not joined.complete
        assert numbers(joined.messages) == list(range(kept - 5, kept))


@LOGS
async def test_large_messages_were_missed(layer: BaseChannelLayer) -> None:
    """A joining brings a mebibyte at most: the last messages that fit, and not complete."""
    first = await visit(layer)
    for number in range(5):
        text = "x" * 300_000
        await layer.group_send(GROUP, {"type": "said", "number": number, "parts": [text]})
    newcomer = await visit(layer, history=50)
    assert (numbers(newcomer.messages), newcomer.complete) == ([2, 3, 4], True)
    second = newcomer.messages[0][POSITION]
    for since, history, brought, complete in (
        (first.position, 50, [2, 3, 4], False),
        (first.position, 2, [3, 4], False),
        (second, 50, [3, 4], True),
    ):
        joined = await visit(layer, since, history=history)
        assert (numbers(joined.messages), joined.complete) == (brought, complete)


@LOGS
async def test_what_expired_is_not_complete(make_layer: MakeLayer) -> None:
    """A log that has been forgotten, and begun anew, proves nothing about the time before."""
    layer = make_layer(expiry=0.2, group_history={GROUP: History(10, 0.2)})
    first = await visit(layer)
    await say(layer, [1])
    await asyncio.sleep(1.0)
    await say(layer, [2])
    joined = await visit(layer, first.position, history=10)
    assert (numbers(joined.messages), joined.complete) == ([2], False)


@LOGS
async def test_a_flushed_layer_proves_nothing(layer: BaseChannelLayer) -> None:
    """Nor does a position of the time before, in a log that has begun again."""
    await say(layer, range(3))
    position = (await visit(layer)).position
    await layer.flush()
    assert not (await visit(layer, position, history=5)).complete
    await say(layer, [7])
    joined = await visit(layer, position, history=5)
    assert (numbers(joined.messages), joined.complete) == ([7], False)


async def test_members_by_group_add_get_no_positions(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """Whoever else of their process has joined with them."""
    plain, positioned = await layer.new_channel(), await layer.new_channel()
    await layer.group_add(GROUP, plain)
    await layer.join(GROUP, positioned)
    await say(peer_layer, range(2))
    assert await take(layer, plain, 2) == [{"type": "said", "number": n} for n in range(2)]
    assert numbers(await take(layer, positioned, 2)) == [0, 1]


@over(PUBSUB)
async def test_a_layer_without_history_says_so(layer: BaseChannelLayer) -> None:
    """A newcomer misses nothing; one that comes back, with or without a position, is told."""
    channel = await layer.new_channel()
    await say(layer, range(3))
    assert await layer.join(GROUP, channel, history=3) == Joined([], complete=True, position="")
    assert not (await visit(layer, "")).complete
    await say(layer, [3])
    assert await take(layer, channel, 1) == [{"type": "said", "number": 3}]


async def test_leaving_ends_the_events(layer: BaseChannelLayer) -> None:
    """By `group_discard` as after `group_add`; a channel that leaves may join again."""
    channel = await layer.new_channel()
    for number in range(2):
        await layer.join(GROUP, channel)
        await layer.group_discard(GROUP, channel)
        await say(layer, [number])
    await layer.join(GROUP, channel)
    await say(layer, [2])
    assert numbers(await take(layer, channel, 1)) == [2]


async def test_bad_arguments_are_named(layer: BaseChannelLayer) -> None:
    """With what was expected, and before anything happens."""
    channel = await layer.new_channel()
    with pytest.raises(TypeError, match="since must be a position, which is a str, or None, not 5"):
        await layer.join(GROUP, channel, since=5)  # type: ignore[arg-type]
    for history in (-1, 1001, 0.5):
        with pytest.raises(ValueError, match="a number of messages from 0 to 1000, not"):
            await layer.join(GROUP, channel, history=history)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Group name"):
        await layer.join("not valid!", channel)


@LOGS
async def test_only_a_channel_of_this_process_joins(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer, backend: Backend
) -> None:
    """Positions are delivered with the messages, and a named channel's are not."""
    closed = await layer.new_channel()
    await layer.close_channel(closed)
    for channel in [closed] if backend.is_memory else [closed, await peer_layer.new_channel()]:
        with pytest.raises(ChannelNotOwned):
            await layer.join(GROUP, channel)
