"""Plain receivers of a named channel: what is leased ahead for them, and what remains of them."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fast_channels.layers import Delivery, Depth

from ..support.backends import MEMORY, OWN, PUBSUB, QUEUE, WORK, Backend, over
from ..support.expect import eventually, messages, silence

MakeLayer = Callable[..., Any]
STANDALONE = ["queue-standalone"]


async def send(layer: Any, count: int, channel: str = "jobs", start: int = 0) -> None:
    await asyncio.gather(
        *(layer.send(channel, {"number": number}) for number in range(start, start + count))
    )


async def receive(layer: Any, count: int) -> list[int]:
    return [message["number"] for message in await messages(layer, "jobs", count)]


async def lease_all(layer: Any, count: int) -> list[Delivery]:
    deliveries: list[Delivery] = []
    async with asyncio.timeout(20):
        while len(deliveries) < count:
            deliveries += await layer.lease("jobs", count)
    return deliveries


def numbers_and_attempts(deliveries: list[Delivery]) -> list[tuple[int, int]]:
    return sorted((delivery.message["number"], delivery.attempt) for delivery in deliveries)


# What is leased ahead


@over(OWN)
async def test_a_quick_loop_takes_few_commands(make_layer: MakeLayer, redis_client: Any) -> None:
    """Less than one for each message: they are leased, and acknowledged, many at a time."""
    layer = make_layer(capacity=2000)
    await send(layer, 2000)

    async def commands() -> int:
        stats = await redis_client.info("commandstats")
        names = ("evalsha", "xreadgroup", "xack", "xdel", "xclaim")
        return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in names)

    before = await commands()
    assert await receive(layer, 2000) == list(range(2000))
    assert await commands() - before < 2000
    assert await layer.depth("jobs") == Depth(0, 0, 0)


@over(QUEUE)
@pytest.mark.parametrize("end", ["pausing", "closing"])
async def test_what_was_leased_ahead_is_given_back(make_layer: MakeLayer, end: str) -> None:
    """At once when the layer is closed, soon when its loop takes long; as if it had been leased to nobody."""
    stopping, other = make_layer(lease=3600), make_layer(lease=3600)
    await send(other, 60)
    assert await receive(stopping, 20) == list(range(20))
    if end == "closing":
        await stopping.aclose()
    rest = await lease_all(other, 40)
    assert numbers_and_attempts(rest) == [(number, 1) for number in range(20, 60)]


@over(QUEUE)
async def test_a_loop_that_pauses_keeps_the_order(make_layer: MakeLayer) -> None:
    """What was given back comes before what was sent after it."""
    layer = make_layer(lease=3600)
    await send(layer, 60)
    received = []
    for number in range(60):
        if number % 20 == 10:
            await asyncio.sleep(0.1)
        received += await receive(layer, 1)
    assert received == list(range(60))


@over(QUEUE)
async def test_a_cancelled_loop_gives_back(make_layer: MakeLayer) -> None:
    """Whatever it held ahead; what it has received comes to nobody else."""
    layer, other = make_layer(lease=3600), make_layer(lease=3600)
    received: list[int] = []

    async def loop() -> None:
        while True:
            received.append((await layer.receive("jobs"))["number"])
            await asyncio.sleep(0)

    await send(other, 100)
    task = asyncio.create_task(loop())
    await eventually(lambda: len(received) >= 20, "some messages")
    task.cancel()
    await asyncio.wait([task])
    rest = await lease_all(other, 100 - len(received))
    assert numbers_and_attempts(rest) == [(number, 1) for number in range(len(received), 100)]


@over(WORK)
async def test_what_was_received_takes_no_room(make_layer: MakeLayer) -> None:
    """A receiver that sends to its own channel finds the room that its message has left."""
    layer = make_layer(capacity=3)
    await send(layer, 3)
    for number in range(3, 30):
        assert await receive(layer, 1) == [number - 3]
        await send(layer, 1, start=number)


@over(WORK)
async def test_flushed_messages_are_not_handed_out(make_layer: MakeLayer) -> None:
    """Also if they were leased ahead."""
    layer = make_layer()
    await send(layer, 50)
    assert await receive(layer, 10) == list(range(10))
    await layer.flush()
    await silence(layer, "jobs")


# What has expired


@over(WORK)
async def test_a_message_behind_many_expired_ones(
    make_layer: MakeLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comes at once, and those are counted: nobody waits for the next look between two steps."""
    monkeypatch.setattr("fast_channels.layers.redis.job_streams.POLL", 3600.0)
    layer = make_layer(expiry=2.0, capacity=10_000)
    for start in range(0, 2500, 500):
        await send(layer, 500, start=start)
    await asyncio.sleep(2.1)
    await send(layer, 1, start=2500)
    assert await receive(layer, 1) == [2500]
    assert layer.expired == 2500


@over(WORK)
async def test_depth_counts_what_it_drops(make_layer: MakeLayer) -> None:
    layer = make_layer(expiry=0.3)
    await send(layer, 2)
    await asyncio.sleep(0.4)
    assert await layer.depth("jobs") == Depth(0, 0, 0)
    assert layer.expired == 2


# Delays


@over(QUEUE)
async def test_a_delay_longer_than_the_lease_is_kept(
    make_layer: MakeLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other workers, who look for ended leases meanwhile, do not get the message."""
    monkeypatch.setattr("fast_channels.layers.redis.job_streams.POLL", 0.1)
    layer, other = make_layer(lease=0.3), make_layer(lease=0.3)
    await send(layer, 1)
    (first,) = await lease_all(layer, 1)
    clock = asyncio.get_running_loop().time
    began = clock()
    await layer.reject(first, delay=1.5)
    assert await other.depth("jobs") == Depth(waiting=0, leased=1, dead=0)
    (second,) = await lease_all(other, 1)
    assert clock() - began >= 1.4
    assert (second.id, second.attempt) == (first.id, 2)


@over(QUEUE)
async def test_an_acknowledgement_ends_a_delay(
    make_layer: MakeLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that is dealt with after all does not come again."""
    monkeypatch.setattr("fast_channels.layers.redis.job_streams.POLL", 0.1)
    layer = make_layer()
    await send(layer, 1)
    (delivery,) = await lease_all(layer, 1)
    await layer.reject(delivery, delay=0.2)
    await layer.acknowledge(delivery)
    assert await layer.depth("jobs") == Depth(0, 0, 0)


@over(MEMORY)
async def test_a_delay_outlives_the_loop_that_gave_the_message_back(layer: Any) -> None:
    """As with `async_to_sync`, whose loop ends with the call."""
    await send(layer, 1)
    (delivery,) = await lease_all(layer, 1)
    await asyncio.to_thread(asyncio.run, layer.reject(delivery, delay=0.1))
    (again,) = await lease_all(layer, 1)
    assert again.attempt == 2


@over(MEMORY)
async def test_a_delay_is_waited_for_by_whoever_waits(layer: Any) -> None:
    """Also when the receiver that waited longest is cancelled meanwhile."""
    await send(layer, 1)
    (delivery,) = await lease_all(layer, 1)
    first, second = (asyncio.create_task(layer.receive("jobs")) for _ in range(2))
    await asyncio.sleep(0)
    await layer.reject(delivery, delay=0.2)
    await asyncio.sleep(0.01)
    first.cancel()
    async with asyncio.timeout(10):
        assert (await second)["number"] == 0


# What remains of a channel that nobody receives on any more


async def use(layer: Any, names: list[str]) -> None:
    """Receive a message on each channel."""
    for name in names:
        waiting = asyncio.create_task(layer.receive(name))
        while not waiting.done():  # pub/sub: not before it listens
            await layer.send(name, {"number": 0})
            await asyncio.wait([waiting], timeout=0.05)


def topics(backend: Backend, redis_client: Any) -> Callable[[], Any]:
    async def none_is_left() -> bool:
        return not await redis_client.pubsub_channels(f"{backend.prefix}:c:*")

    return none_is_left


@over([PUBSUB[0], *STANDALONE])
async def test_a_closed_channel_is_not_listened_to(
    layer: Any, backend: Backend, redis_client: Any
) -> None:
    names = [f"reply.{number}" for number in range(20)]
    await use(layer, names)
    for name in names:
        await layer.close_channel(name)
    await eventually(topics(backend, redis_client), "the end of all subscriptions")
    await use(layer, names[:1])


@over([PUBSUB[0], *STANDALONE])
async def test_an_idle_channel_is_forgotten(
    make_layer: MakeLayer, backend: Backend, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody need close it; one that somebody waits on stays, and others are new when used again."""
    monkeypatch.setattr("fast_channels.layers.redis.job_streams.IDLE_TIME", 0.3)
    layer = make_layer(expiry=1.0)
    names = [f"reply.{number}" for number in range(20)]
    await use(layer, names)
    await eventually(topics(backend, redis_client), "the end of all subscriptions")
    waiting = asyncio.create_task(layer.receive("jobs"))
    await asyncio.sleep(1.2)
    await send(layer, 1)
    assert (await waiting)["number"] == 0
    await use(layer, names[:1])


@over([PUBSUB[0], *STANDALONE])
async def test_few_idle_channels_are_kept(
    make_layer: MakeLayer, backend: Backend, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("job_streams", "pubsub"):
        monkeypatch.setattr(f"fast_channels.layers.redis.{module}.MOST_IDLE", 5)
    layer = make_layer()
    await use(layer, [f"reply.{number}" for number in range(20)])
    left = await redis_client.pubsub_channels(f"{backend.prefix}:c:*")
    assert len(left) <= 6


@over(MEMORY)
async def test_nothing_is_kept_for_a_channel_that_is_idle(layer: Any) -> None:
    for number in range(20):
        await layer.send(f"jobs.{number}", {"number": 0})
        (delivery,) = await layer.lease(f"jobs.{number}")
        await layer.reject(delivery, final=True)
        (letter,) = await layer.dead_letters(f"jobs.{number}")
        await layer.discard(f"jobs.{number}", letter)
    for kept in (layer.local.mailboxes, layer._jobs, layer._given_back, layer._dead):
        assert kept == {}
