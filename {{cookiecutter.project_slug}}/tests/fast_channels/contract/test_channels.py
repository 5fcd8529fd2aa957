"""Channels: what is sent to one arrives there, whole, once and in order."""

import asyncio
from collections.abc import Callable

from fast_channels.layers import BaseChannelLayer

from ..support.backends import Backend
from ..support.expect import messages, silence

MakeLayer = Callable[..., BaseChannelLayer]


async def test_a_message_reaches_another_process(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """`send` on one layer is received on the layer that made the channel, unchanged."""
    channel = await layer.new_channel()
    await peer_layer.send(channel, {"type": "chat.message", "text": "hello"})
    assert await messages(layer, channel) == [{"type": "chat.message", "text": "hello"}]
    await silence(layer, channel)


async def test_a_receiver_may_wait_first(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """A message that comes while `receive` waits ends the wait."""
    channel = await layer.new_channel()
    receiving = asyncio.create_task(messages(layer, channel))
    await asyncio.sleep(0)
    await peer_layer.send(channel, {"type": "late"})
    assert await receiving == [{"type": "late"}]


async def test_each_senders_order_is_kept(make_layer: MakeLayer, backend: Backend) -> None:
    """500 messages of each of two senders arrive in each sender's order, none twice."""
    layer = make_layer(capacity=2000)
    senders = [layer, layer if backend.is_memory else make_layer()]
    channel = await layer.new_channel()

    async def send_all(sender: int) -> None:
        for number in range(500):
            await senders[sender].send(channel, {"sender": sender, "number": number})

    await asyncio.gather(send_all(0), send_all(1))
    received = await messages(layer, channel, 1000)
    for sender in (0, 1):
        assert [m["number"] for m in received if m["sender"] == sender] == list(range(500))


async def test_concurrent_sends_of_one_task_keep_their_order(make_layer: MakeLayer) -> None:
    """Sends that are started in a row, without waiting for each other, arrive in that row."""
    layer = make_layer(capacity=2000)
    channel = await layer.new_channel()
    await asyncio.gather(*(layer.send(channel, {"number": number}) for number in range(1000)))
    received = await messages(layer, channel, 1000)
    assert [message["number"] for message in received] == list(range(1000))


async def test_new_channels_are_distinct_and_valid(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """Names are unique over the app's processes, start with the prefix and are valid names."""
    names = [await one.new_channel("web.") for one in (layer, peer_layer) for _ in range(50)]
    assert len(set(names)) == 100
    for name in names:
        assert name.startswith("web.")
        assert layer.require_valid_channel_name(name)


async def test_sending_to_nobody_is_no_error(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """A closed consumer's channel, an unknown one and an empty group swallow what is sent."""
    channel = await layer.new_channel()
    await layer.close_channel(channel)
    await peer_layer.send(channel, {})
    await peer_layer.send("specific.0123456789abcdef!1", {})
    await peer_layer.group_send("nobody", {})
