"""Capacity: each channel has its own, what is over it is refused or counted, never silent."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from fast_channels.exceptions import ChannelFull
from fast_channels.layers import BaseChannelLayer
from fast_channels.mailbox import Mailbox

from ..support.backends import MEMORY, REDIS, WORK, over
from ..support.expect import eventually, messages, silence

MakeLayer = Callable[..., Any]


async def fill(mailbox: Mailbox, layer: BaseChannelLayer, group: str, count: int) -> None:
    """Send 0, 1, 2… to the group and wait until the mailbox has seen them all."""
    for number in range(count):
        await layer.group_send(group, {"number": number})
    await eventually(lambda: len(mailbox) + mailbox.dropped == count, "the messages to arrive")


@over(WORK)
async def test_a_full_named_channel_refuses(make_layer: MakeLayer) -> None:
    """The sender over the capacity gets `ChannelFull`; another channel still has room."""
    layer = make_layer(capacity=3)
    for number in range(3):
        await layer.send("busy", {"number": number})
    with pytest.raises(ChannelFull, match="busy holds 3 unread messages"):
        await layer.send("busy", {"number": 3})
    await layer.send("idle", {"number": 0})
    assert await messages(layer, "idle") == [{"number": 0}]


@over(WORK)
async def test_a_channel_that_was_read_has_room_again(make_layer: MakeLayer) -> None:
    """Capacity counts what waits, so each message that is received makes room for one."""
    layer = make_layer(capacity=2)
    for number in range(2):
        await layer.send("jobs", {"number": number})
    for number in range(2, 6):
        with pytest.raises(ChannelFull):
            await layer.send("jobs", {"number": "refused"})
        assert await messages(layer, "jobs") == [{"number": number - 2}]
        await send_when_there_is_room(layer, "jobs", {"number": number})
    received = await messages(layer, "jobs", 2)
    assert received == [{"number": 4}, {"number": 5}]


async def send_when_there_is_room(
    layer: BaseChannelLayer, channel: str, message: dict[str, Any]
) -> None:
    """A message received elsewhere leaves the broker a moment after `receive` returned it."""

    async def accepted() -> bool:
        try:
            await layer.send(channel, message)
        except ChannelFull:
            return False
        return True

    await eventually(accepted, f"room in {channel}")


@over(MEMORY)
async def test_a_full_own_channel_refuses_in_memory(make_layer: MakeLayer) -> None:
    """One process sees the receiver's mailbox, and so can tell the sender."""
    layer = make_layer(capacity=2)
    channel = await layer.new_channel()
    for _ in range(2):
        await layer.send(channel, {})
    with pytest.raises(ChannelFull):
        await layer.send(channel, {})


@over(REDIS)
async def test_a_full_own_channel_drops_and_counts(make_layer: MakeLayer) -> None:
    """Another process's mailbox is out of the sender's sight: what is over it is counted there."""
    layer = make_layer(capacity=2)
    full, other = await layer.new_channel(), await layer.new_channel()
    for number in range(5):
        await layer.send(full, {"number": number})
    await layer.send(other, {"number": 0})
    assert await messages(layer, other) == [{"number": 0}]
    await eventually(lambda: layer.dropped == 3, "three drops")
    assert await messages(layer, full, 2) == [{"number": 0}, {"number": 1}]


async def test_a_group_skips_only_the_full_member(
    make_layer: MakeLayer, caplog: pytest.LogCaptureFixture
) -> None:
    """The others get every message; the drops are counted and logged once, not per message."""
    layer = make_layer(capacity=10, channel_capacity={"slow.*": 2})
    slow, fast = await layer.new_channel("slow."), await layer.new_channel("fast.")
    for channel in (slow, fast):
        await layer.group_add("room", channel)
    with caplog.at_level(logging.WARNING):
        await fill(layer.mailbox(fast), layer, "room", 10)
    assert len(await messages(layer, fast, 10)) == 10
    assert layer.dropped == 8
    assert layer.mailbox(slow).dropped == 8
    assert await messages(layer, slow, 2) == [{"number": 0}, {"number": 1}]
    (line,) = [record.getMessage() for record in caplog.records if "dropped" in record.msg]
    assert slow in line


@pytest.mark.parametrize(
    ("overflow", "kept"),
    [("drop_newest", [0, 1, 2]), ("drop_oldest", [2, 3, 4]), ("close", [0, 1, 2])],
)
async def test_a_consumers_policy_says_what_goes(
    make_layer: MakeLayer, overflow: Any, kept: list[int]
) -> None:
    """The newest or the oldest is dropped; `close` also marks the mailbox for its consumer."""
    layer = make_layer(capacity=3)
    channel = await layer.new_channel()
    mailbox = layer.mailbox(channel, overflow)
    await layer.group_add("room", channel)
    await fill(mailbox, layer, "room", 3)
    for number in (3, 4):
        await layer.group_send("room", {"number": number})
    await eventually(lambda: mailbox.dropped == 2, "two drops")
    received = await messages(layer, channel, 3)
    assert [message["number"] for message in received] == kept
    assert mailbox.overflowed == (overflow == "close")
    assert layer.dropped == 2


async def test_capacities_are_chosen_by_name(make_layer: MakeLayer) -> None:
    """The first pattern that matches a channel's name counts, then the default."""
    layer = make_layer(capacity=5, channel_capacity={"small.*": 1, "s*": 3})
    for prefix, capacity in (("small.", 1), ("some.", 3), ("other.", 5)):
        channel = await layer.new_channel(prefix)
        mailbox = layer.mailbox(channel)
        await layer.group_add(prefix, channel)
        await fill(mailbox, layer, prefix, 6)
        assert len(mailbox) == capacity
        assert mailbox.dropped == 6 - capacity


async def test_a_full_channel_does_not_fill_others(make_layer: MakeLayer) -> None:
    """With one channel full, 20 others of the same process still take their whole capacity."""
    layer = make_layer(capacity=3)
    full = await layer.new_channel()
    await layer.group_add("full", full)
    await fill(layer.mailbox(full), layer, "full", 6)
    for number in range(20):
        channel = await layer.new_channel()
        await layer.group_add(f"g{number}", channel)
        await fill(layer.mailbox(channel), layer, f"g{number}", 3)
        assert len(await messages(layer, channel, 3)) == 3
    assert layer.dropped == 3


async def test_expired_messages_take_no_room(make_layer: MakeLayer) -> None:
    """A mailbox full of expired messages accepts new ones."""
    layer = make_layer(capacity=2, expiry=1.5)
    channel = await layer.new_channel()
    mailbox = layer.mailbox(channel)
    await layer.group_add("room", channel)
    await fill(mailbox, layer, "room", 2)
    await asyncio.sleep(1.55)  # both have expired, and nobody has looked
    await layer.group_send("room", {"type": "fresh"})
    assert await messages(layer, channel) == [{"type": "fresh"}]
    await silence(layer, channel)
    assert (mailbox.dropped, mailbox.expired) == (0, 2)
