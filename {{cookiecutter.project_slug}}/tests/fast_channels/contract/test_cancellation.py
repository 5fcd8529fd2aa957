"""Cancelling one `receive` loses nothing and delays nobody.

What has come to a process waits in its own mailboxes, wherever it came from: so it is tried with one server.
"""

import asyncio
import itertools
from collections.abc import Callable

from fast_channels.layers import BaseChannelLayer

from ..support.backends import MEMORY, WORK, over
from ..support.expect import messages

CANCELS = 300
ONE_SERVER = [*MEMORY, "pubsub-standalone", "queue-standalone"]

MakeLayer = Callable[..., BaseChannelLayer]


async def receive_with_cancels(layer: BaseChannelLayer, channel: str, count: int) -> list[int]:
    """Receive `count` messages, cancelling each wait after another number of steps."""
    received: list[int] = []
    async with asyncio.timeout(30):
        for attempt in itertools.count():
            if len(received) == count:
                break
            task = asyncio.create_task(layer.receive(channel))
            for _ in range(attempt % 7):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                received.append(task.result()["number"])
    return received


@over(ONE_SERVER)
async def test_own_channel(layer: BaseChannelLayer, peer_layer: BaseChannelLayer) -> None:
    """300 messages come, in order, while receivers are cancelled all the time."""
    channel = await layer.new_channel()
    await layer.group_add("room", channel)

    async def send_all() -> None:
        for number in range(CANCELS):
            await peer_layer.group_send("room", {"number": number})
            async with asyncio.timeout(30):
                while len(layer.mailbox(channel)) > 50:
                    await asyncio.sleep(0)

    sending = asyncio.create_task(send_all())
    assert await receive_with_cancels(layer, channel, CANCELS) == list(range(CANCELS))
    await sending


@over(ONE_SERVER)
async def test_cancelled_with_the_message_on_its_way(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """Each wait is cancelled in the very step in which its message arrives; none is lost."""
    channel = await layer.new_channel()
    mailbox = layer.mailbox(channel)
    for number in range(CANCELS):
        waiting = asyncio.create_task(layer.receive(channel))
        await asyncio.sleep(0)
        await peer_layer.send(channel, {"number": number})
        async with asyncio.timeout(30):
            while not len(mailbox) and not waiting.done():
                await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        (message,) = await messages(layer, channel) if waiting.cancelled() else [waiting.result()]
        assert message == {"number": number}


@over(WORK)
async def test_named_channel(layer: BaseChannelLayer, peer_layer: BaseChannelLayer) -> None:
    """A named channel's 100 messages all reach a receiver, though others were cancelled."""
    for number in range(100):
        await peer_layer.send("jobs", {"number": number})

    async def receive_or_give_up(patience: float) -> int | None:
        try:
            async with asyncio.timeout(patience):
                return int((await layer.receive("jobs"))["number"])
        except TimeoutError:
            return None

    received: list[int] = []
    async with asyncio.timeout(30):
        while len(received) < 100:
            waits = [receive_or_give_up(0.0003 * i) for i in range(8)]
            received += [n for n in await asyncio.gather(*waits) if n is not None]
    assert sorted(received) == list(range(100))


@over(["queue-standalone"])
async def test_named_channel_with_the_message_on_its_way(layer: BaseChannelLayer) -> None:
    """300 jobs, each with a receiver that is cancelled about when its message comes: none lost."""
    received: list[int] = []
    for number in range(CANCELS):
        receiving = asyncio.create_task(layer.receive("jobs"))
        await layer.send("jobs", {"number": number})
        for _ in range(number % 10):
            await asyncio.sleep(0)
        receiving.cancel()
        await asyncio.wait([receiving])
        if not receiving.cancelled():
            received.append(receiving.result()["number"])
    rest = await messages(layer, "jobs", CANCELS - len(received))
    assert sorted([*received, *(message["number"] for message in rest)]) == list(range(CANCELS))


@over(ONE_SERVER)
async def test_a_cancelled_receiver_does_not_delay_another(layer: BaseChannelLayer) -> None:
    """Of two that wait on one channel, the second gets the message when the first is cancelled."""
    channel = await layer.new_channel()
    for number in range(CANCELS):
        first = asyncio.create_task(layer.receive(channel))
        second = asyncio.create_task(layer.receive(channel))
        await asyncio.sleep(0)
        await layer.send(channel, {"number": number})
        first.cancel()
        async with asyncio.timeout(30):
            await asyncio.wait([first])
            if not first.cancelled():  # it had its message before
                second.cancel()
                await asyncio.wait([second])
                continue
            message = await second
        assert message == {"number": number}


@over(WORK)
async def test_a_receiver_that_came_first_is_not_forgotten(layer: BaseChannelLayer) -> None:
    """A waiting receiver whose message another one took gets the next one."""
    waiting = asyncio.create_task(layer.receive("jobs"))
    await asyncio.sleep(0)
    overtaking = asyncio.create_task(layer.receive("jobs"))  # runs when the message is there
    await layer.send("jobs", {"number": 0})
    async with asyncio.timeout(30):
        await asyncio.wait({waiting, overtaking}, return_when=asyncio.FIRST_COMPLETED)
        await layer.send("jobs", {"number": 1})
        received = await asyncio.gather(waiting, overtaking)
    assert sorted(message["number"] for message in received) == [0, 1]


@over(["queue-standalone"])
async def test_a_stable_member_beside_cancelled_ones(make_layer: MakeLayer) -> None:
    """1,000 messages arrive in order while others of the same group come, wait for one, and go."""
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
