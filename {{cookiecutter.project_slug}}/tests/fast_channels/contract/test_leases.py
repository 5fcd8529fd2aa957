"""Who holds a message when leases end: one worker, and what the one before may still say."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fast_channels.layers import Delivery, Depth
from fast_channels.layers.redis.job_streams import Receivers

from ..support.backends import MEMORY, QUEUE, WORK, over
from ..support.expect import DEADLINE, eventually, messages

MakeLayer = Callable[..., Any]
LEASE = 0.4  # seconds


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for ended leases ten times as often as usual."""
    monkeypatch.setattr("fast_channels.layers.redis.job_streams.POLL", 0.1)


async def lease(layer: Any, count: int = 1) -> list[Delivery]:
    async with asyncio.timeout(DEADLINE):
        deliveries: list[Delivery] = await layer.lease("jobs", count)
    return deliveries


async def lost_and_taken(make_layer: MakeLayer) -> tuple[Any, Delivery, Any, Delivery]:
    """A layer whose lease of a message has ended, and the one that holds the message now.

    Each layer asks for what is older than its own leases: the slow one takes nothing back by itself.
    """
    slow, quick = make_layer(lease=60), make_layer(lease=LEASE)
    await slow.send("jobs", {"number": 1})
    (lost,) = await lease(slow)
    (held,) = await lease(quick)
    assert (held.id, held.attempt) == (lost.id, 2)
    return slow, lost, quick, held


@over(QUEUE)
async def test_an_ended_lease_has_one_heir(make_layer: MakeLayer) -> None:
    """However many workers ask at the same moment, each message goes to one of them."""
    dead = make_layer(lease=LEASE)
    for number in range(10):
        await dead.send("jobs", {"number": number})
    assert len(await lease(dead, 10)) == 10
    await dead.aclose()
    heirs = [make_layer(lease=2) for _ in range(4)]
    taken: list[Delivery] = []

    async def take(layer: Any) -> None:
        while True:
            for delivery in await layer.lease("jobs", 3):
                taken.append(delivery)
                await layer.acknowledge(delivery)

    async with asyncio.TaskGroup() as tasks:
        takers = [tasks.create_task(take(heir)) for heir in heirs]
        await eventually(lambda: is_done(heirs[0]), "all messages")
        await heirs[0].send("jobs", {"number": 10})
        await eventually(lambda: len(taken) >= 11, "one more")
        for taker in takers:
            taker.cancel()
    assert sorted(d.message["number"] for d in taken) == list(range(11))
    assert {d.attempt for d in taken if d.message["number"] < 10} == {2}


async def is_done(layer: Any) -> bool:
    return bool(await layer.depth("jobs") == Depth(0, 0, 0))


@over(QUEUE)
async def test_a_late_acknowledgement_counts(make_layer: MakeLayer) -> None:
    """The work is done, so nobody does it a third time, although another worker has begun it."""
    slow, lost, quick, held = await lost_and_taken(make_layer)
    await slow.acknowledge(lost)
    assert await slow.depth("jobs") == Depth(0, 0, 0)
    assert not await quick.renew(held)
    await quick.reject(held, final=True, reason="too late")
    await quick.acknowledge(held)
    assert await slow.depth("jobs") == Depth(0, 0, 0)


@over(QUEUE)
@pytest.mark.parametrize("word", ["reject", "release", "bury"])
async def test_who_lost_a_lease_has_no_other_say(make_layer: MakeLayer, word: str) -> None:
    """The message stays with its new holder, with its count of attempts."""
    slow, lost, quick, held = await lost_and_taken(make_layer)
    if word == "release":
        await slow.release(lost)
    else:
        await slow.reject(lost, final=word == "bury", reason="late")
    waiting = asyncio.create_task(lease(slow))
    await asyncio.sleep(0.5)  # the slow one looks for ended leases several times
    assert not waiting.done()
    assert await quick.depth("jobs") == Depth(waiting=0, leased=1, dead=0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await quick.reject(held)
    (third,) = await lease(quick)
    assert (third.id, third.attempt) == (held.id, 3)


@over(QUEUE)
async def test_a_lost_lease_cannot_be_renewed(make_layer: MakeLayer) -> None:
    """`renew` says that it was lost; the new holder's lease ends in its own time."""
    slow, lost, quick, held = await lost_and_taken(make_layer)
    waiting = asyncio.create_task(lease(quick))
    async with asyncio.timeout(DEADLINE):
        while not waiting.done():
            assert not await slow.renew(lost)
            await asyncio.sleep(0.05)
    assert (await waiting)[0].attempt == 3
    assert not await quick.renew(held)


@over(QUEUE)
async def test_a_lease_that_ended_and_that_nobody_took_can_be_renewed(
    make_layer: MakeLayer,
) -> None:
    layer = make_layer(lease=0.1)
    await layer.send("jobs", {"number": 1})
    (delivery,) = await lease(layer)
    await asyncio.sleep(0.2)
    assert await layer.renew(delivery)


@over(QUEUE)
async def test_what_a_closing_layer_fetches_is_given_back(make_layer: MakeLayer) -> None:
    """Closed in the moment in which a message comes, it leaves that at its first attempt."""
    other = make_layer()
    for number in range(5):
        closing = make_layer()
        waiting = asyncio.create_task(closing.lease("jobs"))
        await asyncio.sleep(0.05)
        await other.send("jobs", {"number": number})
        waiting.cancel()
        await closing.aclose()
        await asyncio.wait([waiting])
        taken = await lease(other) if waiting.cancelled() else waiting.result()
        assert [(d.message["number"], d.attempt) for d in taken] == [(number, 1)]
        await other.acknowledge(taken[0])


@over(QUEUE)
@pytest.mark.parametrize("next_one", ["another layer", "the same layer", "nobody yet"])
async def test_what_a_cancelled_receiver_held_is_given_back(
    make_layer: MakeLayer, monkeypatch: pytest.MonkeyPatch, next_one: str
) -> None:
    """Cancelled after its messages came and before it could return them, then closed or not."""
    closing, other = make_layer(), make_layer()
    tasks: list[asyncio.Task[Any]] = []
    hand_out = Receivers._hand_out

    def hand_out_and_cancel(receivers: Receivers, deliveries: list[Delivery]) -> None:
        monkeypatch.undo()
        hand_out(receivers, deliveries)
        tasks[0].cancel()

    monkeypatch.setattr(Receivers, "_hand_out", hand_out_and_cancel)
    for number in range(3):
        await other.send("jobs", {"number": number})
    tasks.append(asyncio.create_task(closing.lease("jobs", 3)))
    if next_one == "the same layer":
        tasks.append(asyncio.create_task(closing.lease("jobs", 3)))
    await asyncio.wait(tasks[:1])
    assert tasks[0].cancelled()
    if next_one == "nobody yet":
        await closing.aclose()
    taken = await tasks[1] if next_one == "the same layer" else await lease_all(other, 3)
    assert sorted((d.message["number"], d.attempt) for d in taken) == [(0, 1), (1, 1), (2, 1)]


async def lease_all(layer: Any, number: int) -> list[Delivery]:
    deliveries: list[Delivery] = []
    while len(deliveries) < number:
        deliveries += await lease(layer, number)
    return deliveries


@over(WORK)
async def test_an_attempt_sees_the_message_as_it_was_sent(layer: Any) -> None:
    """What a handler does to its message is not in the next attempt, nor in the dead letter."""
    sent = {"number": 1, "list": [1]}
    await layer.send("jobs", sent)
    for final in (False, True):
        (delivery,) = await lease(layer)
        assert delivery.message == sent
        delivery.message["list"].append(2)
        delivery.message.clear()
        await layer.reject(delivery, final=final)
    (letter,) = await layer.dead_letters("jobs")
    assert letter.message == sent


@over(WORK)
async def test_what_was_given_back_can_be_received(layer: Any) -> None:
    """Also by a plain `receive`."""
    await layer.send("jobs", {"number": 1})
    (delivery,) = await lease(layer)
    await layer.release(delivery)
    assert await messages(layer, "jobs") == [{"number": 1}]


@over(WORK)
@pytest.mark.parametrize("word", ["release", "reject", "bury"])
async def test_what_was_acknowledged_is_not_given_back(layer: Any, word: str) -> None:
    """Nor what was flushed: a worker that says too much makes no second job."""
    await layer.send("jobs", {"number": 1})
    (delivery,) = await lease(layer)
    for end in (lambda: layer.acknowledge(delivery), layer.flush):
        await end()
        if word == "release":
            await layer.release(delivery)
        else:
            await layer.reject(delivery, final=word == "bury")
        assert await layer.depth("jobs") == Depth(waiting=0, leased=0, dead=0)


@over(MEMORY)
async def test_what_was_given_back_is_given_back_once(layer: Any) -> None:
    """However often its worker says so, there is one job."""
    await layer.send("jobs", {"number": 1})
    (delivery,) = await lease(layer)
    await layer.reject(delivery)
    await layer.reject(delivery)
    await layer.release(delivery)
    (again,) = await lease(layer)
    assert (again.id, again.attempt) == (delivery.id, 2)
    await layer.reject(delivery, final=True)
    assert await layer.depth("jobs") == Depth(waiting=0, leased=1, dead=0)


@over(MEMORY)
async def test_an_acknowledgement_counts_while_the_next_attempt_waits(layer: Any) -> None:
    await layer.send("jobs", {"number": 1})
    (delivery,) = await lease(layer)
    await layer.reject(delivery, delay=0.1)
    await layer.acknowledge(delivery)
    waiting = asyncio.create_task(lease(layer))
    await asyncio.sleep(0.3)
    assert await layer.depth("jobs") == Depth(waiting=0, leased=0, dead=0)
    await layer.send("jobs", {"number": 2})
    (other,) = await waiting
    assert other.message == {"number": 2}
