"""How long messages, memberships and the layer itself live."""

import asyncio
from collections.abc import Callable

from fast_channels.layers import BaseChannelLayer

from ..support.backends import REDIS, Backend, over
from ..support.expect import eventually, messages, silence

MakeLayer = Callable[..., BaseChannelLayer]


@over(REDIS)
async def test_prefixes_keep_apps_apart(make_layer: MakeLayer, backend: Backend) -> None:
    """Nothing that one prefix sends reaches another one, and its flush leaves the other alone."""
    ours, theirs = make_layer(), make_layer(prefix=backend.prefix + "2")
    for one in (ours, theirs):
        await one.group_add("group", await one.new_channel("x."))
    channel = await ours.new_channel()
    await ours.group_add("group", channel)
    await theirs.group_send("group", {"type": "theirs"})
    await silence(ours, channel)
    await theirs.flush()
    await ours.group_send("group", {"type": "ours"})
    assert await messages(ours, channel) == [{"type": "ours"}]


async def test_flush_forgets_messages_and_groups(layer: BaseChannelLayer) -> None:
    """After it nothing waits and nobody is a member; the layer goes on working."""
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.send(channel, {"type": "forgotten"})
    await eventually(lambda: len(layer.mailbox(channel)) == 1, "the message")
    await layer.flush()
    await layer.group_send("group", {"type": "no member"})
    await silence(layer, channel)
    await layer.group_add("group", channel)
    await layer.group_send("group", {"type": "member"})
    assert await messages(layer, channel) == [{"type": "member"}]


async def test_a_closed_layer_can_be_opened_again(layer: BaseChannelLayer) -> None:
    """`aclose` ends what the layer holds; new channels work after it."""
    await layer.group_add("group", await layer.new_channel())
    await layer.aclose()
    async with layer:
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        await layer.group_send("group", {"type": "again"})
        assert await messages(layer, channel) == [{"type": "again"}]


async def test_closing_leaves_no_task(make_layer: MakeLayer) -> None:
    """After `aclose` no task of the layer runs."""
    before = asyncio.all_tasks()
    layer = make_layer()
    await layer.group_add("group", await layer.new_channel())
    await layer.group_send("group", {})
    await layer.aclose()
    assert asyncio.all_tasks() == before


async def test_an_unread_message_expires(make_layer: MakeLayer) -> None:
    """A message is handed out until `expiry` seconds have passed, also one and a half."""
    layer = make_layer(expiry=1.5)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.send(channel, {"type": "read"})
    assert await messages(layer, channel) == [{"type": "read"}]
    await layer.send(channel, {"type": "unread"})
    await layer.group_send("group", {"type": "unread"})
    mailbox = layer.mailbox(channel)
    await eventually(lambda: len(mailbox) == 2, "both messages")
    await asyncio.sleep(1.55)
    await silence(layer, channel)
    assert mailbox.expired == layer.expired == 2


async def test_expiry_may_be_half_a_second(make_layer: MakeLayer) -> None:
    """`expiry=0.5` is a number like any other, for groups too."""
    layer = make_layer(expiry=0.5)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", {"type": "hello"})


@over(["queue-standalone"])
async def test_a_member_stays_however_long_nothing_is_sent(make_layer: MakeLayer) -> None:
    """Neither `group_expiry` nor `expiry` ends a membership."""
    layer = make_layer(group_expiry=1, expiry=1)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", {"number": 1})
    assert await messages(layer, channel) == [{"number": 1}]
    await asyncio.sleep(2.2)
    await silence(layer, channel)
    await layer.group_send("room", {"number": 2})
    assert await messages(layer, channel) == [{"number": 2}]
