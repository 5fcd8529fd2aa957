"""Named channels: work for one receiver each, leased and acknowledged; or a live feed in pub/sub."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fast_channels.layers import BaseChannelLayer, Delivery

from ..support.backends import PUBSUB, QUEUE, WORK, Backend, over
from ..support.expect import eventually, messages, silence

MakeLayer = Callable[..., Any]


async def lease(layer: Any, count: int = 1, *, within: float = 30.0) -> list[Delivery]:
    async with asyncio.timeout(within):
        deliveries: list[Delivery] = await layer.lease("jobs", count)
    return deliveries


async def nothing_to_lease(layer: Any) -> None:
    depth = await layer.depth("jobs")
    assert (depth.waiting, depth.leased) == (0, 0)


@over(WORK)
async def test_messages_wait_for_a_receiver_in_order(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """What was sent before anybody received arrives later, in order, elsewhere."""
    for number in range(50):
        await layer.send("jobs", {"number": number})
    received = await messages(peer_layer, "jobs", 50)
    assert [message["number"] for message in received] == list(range(50))
    await silence(layer, "jobs")


@over(WORK)
async def test_each_message_has_one_receiver(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """Receivers in two processes share 60 messages: none is missing, none comes twice."""
    received: list[int] = []

    async def work(one: BaseChannelLayer) -> None:
        while True:
            received.append((await one.receive("jobs"))["number"])

    async with asyncio.TaskGroup() as tasks:
        workers = [tasks.create_task(work(one)) for one in (layer, layer, peer_layer)]
        for number in range(60):
            await peer_layer.send("jobs", {"number": number})
        await eventually(lambda: len(received) >= 60, "60 messages")
        for worker in workers:
            worker.cancel()
    assert sorted(received) == list(range(60))
    await silence(layer, "jobs")


@over(["queue-standalone", "queue-sentinel"])  # the bus of a Cluster may lose an announcement
async def test_every_wait_is_ended_by_a_message(
    make_layer: MakeLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several messages only the first is announced; no receiver looks again by itself here."""
    monkeypatch.setattr("fast_channels.layers.redis.job_streams.POLL", 3600.0)
    layers = [make_layer() for _ in range(3)]
    received: list[int] = []

    async def work(layer: Any) -> None:
        while True:
            (delivery,) = await layer.lease("jobs")
            received.append(delivery.message["number"])
            await layer.acknowledge(delivery)

    async with asyncio.TaskGroup() as tasks:
        workers = [tasks.create_task(work(layer)) for layer in (*layers, *layers)]
        for number in range(300):
            await layers[0].send("jobs", {"number": number})
            if number % 7 == 0:
                await eventually(lambda sent=number + 1: len(received) == sent, "all so far")
        await eventually(lambda: len(received) == 300, "300 messages")
        for worker in workers:
            worker.cancel()
    assert sorted(received) == list(range(300))


@over(WORK)
async def test_a_delivery_says_what_it_is(layer: Any) -> None:
    """Channel, message, attempt 1, and an id of its own for each message."""
    for number in range(2):
        await layer.send("jobs", {"number": number})
    first, second = (await lease(layer))[0], (await lease(layer))[0]
    assert (first.channel, first.message, first.attempt) == ("jobs", {"number": 0}, 1)
    assert second.message == {"number": 1}
    assert first.id != second.id
    for delivery in (first, second):
        await layer.acknowledge(delivery)
    await nothing_to_lease(layer)


@over(WORK)
async def test_several_are_leased_at_once(layer: Any) -> None:
    """`lease` gives up to `count` of what waits, and waits for one at least."""
    for number in range(5):
        await layer.send("jobs", {"number": number})
    batch = await lease(layer, 3)
    rest = await lease(layer, 3)
    assert [d.message["number"] for d in batch + rest] == list(range(5))


@over(WORK)
async def test_a_rejected_message_comes_again(layer: Any) -> None:
    """With the same id and the next attempt, after the delay and not before."""
    await layer.send("jobs", {"number": 1})
    (first,) = await lease(layer)
    await layer.reject(first)
    (second,) = await lease(layer)
    assert (second.id, second.attempt, second.message) == (first.id, 2, {"number": 1})
    clock = asyncio.get_running_loop().time
    started = clock()
    await layer.reject(second, delay=0.4)
    (third,) = await lease(layer)
    assert (third.id, third.attempt) == (first.id, 3)
    assert clock() - started >= 0.35


@over(QUEUE)
async def test_a_lease_that_ends_goes_to_another_worker(make_layer: MakeLayer) -> None:
    """A worker that died holds its message for `lease` seconds; then it comes again, attempt 2."""
    dead, alive = make_layer(lease=0.4), make_layer(lease=0.4)
    await dead.send("jobs", {"number": 1})
    clock = asyncio.get_running_loop().time
    started = clock()
    (first,) = await lease(dead)
    await dead.aclose()
    (second,) = await lease(alive)
    assert (second.id, second.attempt) == (first.id, 2)
    assert clock() - started >= 0.39
    await alive.acknowledge(second)
    await nothing_to_lease(alive)


@over(QUEUE)
async def test_a_renewed_lease_is_kept(make_layer: MakeLayer) -> None:
    """Renewing in time keeps the message from others for longer than one lease."""
    holder, other = make_layer(lease=2), make_layer(lease=2)
    await holder.send("jobs", {"number": 1})
    (delivery,) = await lease(holder)
    waiting = asyncio.create_task(other.lease("jobs"))
    for _ in range(18):
        await asyncio.sleep(0.2)
        await holder.renew(delivery)
    assert not waiting.done()
    await holder.acknowledge(delivery)
    waiting.cancel()
    await asyncio.wait([waiting])


@over(["queue-standalone", "queue-sentinel"])  # the test looks into one server
async def test_a_finally_rejected_message_is_a_dead_letter(
    make_layer: MakeLayer, backend: Backend, redis_client: Any
) -> None:
    """It leaves the channel and is kept beside it, readable, for the operator."""
    layer = make_layer(serializer_format="json", random_prefix_length=0)
    await layer.send("jobs", {"number": 1})
    (delivery,) = await lease(layer)
    await layer.reject(delivery, final=True)
    await nothing_to_lease(layer)
    ((_, fields),) = await redis_client.xrange(f"{backend.prefix}:d:{{jobs}}")
    assert fields[b"m"].endswith(b'{"number":1}')
    assert await redis_client.xlen(f"{backend.prefix}:c:{{jobs}}") == 0


@over(QUEUE)
async def test_an_undecodable_message_is_buried(make_layer: MakeLayer) -> None:
    """What cannot be decoded is counted and set aside; what comes behind it is received."""
    stranger = make_layer(symmetric_encryption_keys=["theirs"])
    layer = make_layer(symmetric_encryption_keys=["ours"])
    await stranger.send("jobs", {"number": 1})
    await layer.send("jobs", {"number": 2})
    assert await messages(layer, "jobs") == [{"number": 2}]
    assert layer.undecodable == 1


@over(QUEUE)
async def test_a_received_message_leaves_redis(
    layer: Any, backend: Backend, redis_client: Any
) -> None:
    """`receive` acknowledges what it hands over: nothing is left in the channel."""
    await layer.send("jobs", {"number": 1})
    await messages(layer, "jobs")

    async def is_empty() -> bool:
        return bool(await redis_client.xlen(f"{backend.prefix}:c:{{jobs}}") == 0)

    await eventually(is_empty, "the message to leave the channel")


@over(WORK)
async def test_a_message_that_nobody_takes_expires(make_layer: MakeLayer) -> None:
    """After `expiry` seconds it is not delivered any more, takes no room, and is counted."""
    layer = make_layer(expiry=1.5, capacity=1)
    await layer.send("jobs", {"type": "old"})
    await asyncio.sleep(1.6)
    await layer.send("jobs", {"type": "new"})
    assert await messages(layer, "jobs") == [{"type": "new"}]
    assert layer.expired == 1


async def hears(layer: BaseChannelLayer, sender: BaseChannelLayer) -> None:
    """Return when the layer listens to the channel."""
    waiting = asyncio.create_task(layer.receive("news"))
    async with asyncio.timeout(20):
        while not waiting.done():
            await sender.send("news", {"type": "test"})
            await asyncio.wait([waiting], timeout=0.1)


async def next_flash(layer: BaseChannelLayer) -> dict[str, Any]:
    while (await messages(layer, "news"))[0] == {"type": "test"}:
        pass
    return (await messages(layer, "news"))[0]


@over(PUBSUB)
async def test_pubsub_reaches_whoever_listens(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """Each process that receives on the name at this moment gets the message, nobody later."""
    both = [asyncio.create_task(one.receive("news")) for one in (layer, peer_layer)]
    await send_until_heard(peer_layer, "news", {"type": "flash"}, both)
    assert [heard.result() for heard in both] == [{"type": "flash"}] * 2
    await peer_layer.send("other", {"type": "unheard"})
    late = asyncio.create_task(layer.receive("other"))
    await send_until_heard(peer_layer, "other", {"type": "heard"}, [late])
    assert late.result() == {"type": "heard"}


async def send_until_heard(
    layer: BaseChannelLayer, channel: str, message: dict[str, Any], receivers: list[Any]
) -> None:
    """Nobody is told when a receiver begins to listen."""

    async def heard() -> bool:
        await layer.send(channel, message)
        _, waiting = await asyncio.wait(receivers, timeout=0.05)
        return not waiting

    await eventually(heard, "everybody to hear it")
