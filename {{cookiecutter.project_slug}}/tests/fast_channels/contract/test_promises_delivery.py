"""Promises of delivery that fast-channels 1.1.0 broke, kept by our layers: 6, 7 and 9 of the list."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fast_channels.exceptions import ChannelFull

from ..support.backends import REDIS, WORK, over
from ..support.expect import eventually, messages

MakeLayer = Callable[..., Any]


@over(["queue-standalone"])
async def test_promise_6_a_stable_consumer_loses_nothing(make_layer: MakeLayer) -> None:
    """1,000 messages arrive in order while other consumers of the same group come and go."""
    layer, sender = make_layer(capacity=2000), make_layer()
    stable = await layer.new_channel()
    await layer.group_add("room", stable)

    async def come_and_go() -> None:
        while True:
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            receiving = asyncio.create_task(layer.receive(channel))
            await asyncio.wait([receiving], timeout=0.002)
            receiving.cancel()
            await layer.close_channel(channel)

    guests = [asyncio.create_task(come_and_go()) for _ in range(5)]
    for number in range(1000):
        await sender.group_send("room", {"number": number})
    received = [message["number"] for message in await messages(layer, stable, 1000)]
    for guest in guests:
        guest.cancel()
    outcomes = await asyncio.gather(*guests, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert received == list(range(1000))


@over(["queue-standalone"])
async def test_promise_6_a_cancelled_receive_loses_nothing(make_layer: MakeLayer) -> None:
    """300 jobs, each with a receiver that is cancelled about when its message comes: none lost."""
    layer = make_layer(capacity=500)
    received: list[int] = []
    for number in range(300):
        receiving = asyncio.create_task(layer.receive("jobs"))
        await layer.send("jobs", {"number": number})
        for _ in range(number % 10):
            await asyncio.sleep(0)
        receiving.cancel()
        await asyncio.wait([receiving])
        if not receiving.cancelled():
            received.append(receiving.result()["number"])
    rest = await messages(layer, "jobs", 300 - len(received))
    assert sorted([*received, *(message["number"] for message in rest)]) == list(range(300))


@over(REDIS)
async def test_promise_6_a_full_channel_leaves_a_sign(make_layer: MakeLayer) -> None:
    """What a slow member of a group misses is counted, by its layer and by its mailbox."""
    layer = make_layer(capacity=5)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    for _ in range(12):
        await layer.group_send("room", {})
    await eventually(lambda: layer.dropped == 7, "7 counted drops")
    assert layer.mailbox(channel).dropped == 7


@over(REDIS)
async def test_promise_7_capacity_is_each_channels_own(make_layer: MakeLayer) -> None:
    """A full channel makes no other one raise or drop; pub/sub keeps to the capacity too."""
    layer = make_layer(capacity=3)
    full, other = await layer.new_channel(), await layer.new_channel()
    for _ in range(9):
        await layer.send(full, {})
    for _ in range(3):
        await layer.send(other, {"type": "other"})
    assert await messages(layer, other, 3) == [{"type": "other"}] * 3
    assert len(layer.mailbox(full)) == 3


@over(WORK)
async def test_promise_7_channel_full_is_the_named_channels_own(make_layer: MakeLayer) -> None:
    """`ChannelFull` for the full one; the others take their messages."""
    layer = make_layer(capacity=2)
    for _ in range(2):
        await layer.send("busy", {})
    with pytest.raises(ChannelFull):
        await layer.send("busy", {})
    for name in ("a", "b", "c"):
        await layer.send(name, {})


async def test_promise_9_expiry_may_be_half_a_second(make_layer: MakeLayer) -> None:
    """`expiry=0.5` is a number like any other, for groups too."""
    layer = make_layer(expiry=0.5)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", {"type": "hello"})
    assert await messages(layer, channel) == [{"type": "hello"}]
