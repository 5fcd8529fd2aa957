"""How many handlers a worker runs, how it stops, and the arguments that it refuses."""

import asyncio
from typing import Any

import pytest

from expect import eventually
from fast_channels.consumer import AsyncConsumer
from fast_channels.exceptions import InvalidChannelLayerError
from fast_channels.layers import Delivery, InMemoryChannelLayer, RedisPubSubChannelLayer
from fast_channels.worker import Worker
from worker_bench import Bench, Ledger, put

# Concurrency


async def test_concurrency_is_a_bound(jobs: Ledger, bench: Bench) -> None:
    """At most `concurrency` handlers run, and no more messages than that are leased."""
    async with Worker(jobs, {"jobs": bench.app}, concurrency=3):
        await put(jobs, 10)
        await eventually(lambda: len(bench.started) == 3, "three handlers")
        await asyncio.sleep(0.02)
        assert len(bench.started) == 3
        assert len(jobs._local.mailboxes["jobs"]) == 7
        bench.gate.set()
        await eventually(lambda: len(jobs.acknowledged) == 10, "all messages")
    assert sorted(bench.ended) == list(range(10))


async def test_one_handler_at_a_time_keeps_the_order(jobs: Ledger, bench: Bench) -> None:
    """With concurrency=1 messages are handled in the order in which they were sent."""
    bench.gate.set()
    async with Worker(jobs, {"jobs": bench.app}, concurrency=1):
        await put(jobs, 20)
        await eventually(lambda: len(bench.ended) == 20, "all messages")
    assert bench.ended == list(range(20))


async def test_fewer_slots_than_channels(jobs: Ledger, bench: Bench) -> None:
    """A worker with more routes than slots serves all of its channels."""
    bench.gate.set()
    routes = dict.fromkeys(("first", "second", "third"), bench.app)
    async with Worker(jobs, routes, concurrency=1, drain_timeout=1):
        for channel in ("third", "second", "first"):
            await put(jobs, 2, channel)
        await eventually(lambda: len(bench.ended) == 6, "every channel's messages")


async def test_idle_channels_take_no_slots(jobs: Ledger, bench: Bench) -> None:
    """One busy channel among idle ones may use all slots, and not one more."""
    routes = dict.fromkeys(("idle", "busy", "idle.too"), bench.app)
    async with Worker(jobs, routes, concurrency=3, drain_timeout=1):
        await put(jobs, 5, "busy")
        await eventually(lambda: len(bench.started) == 3, "three handlers")
        await asyncio.sleep(0.02)
        assert len(bench.started) == 3
        bench.gate.set()


# Acknowledging


class SlowLedger(Ledger):
    """Notes the number of messages in each acknowledgement, and confirms none before it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.confirm = asyncio.Event()

    async def acknowledge(self, *deliveries: Delivery) -> None:
        self.batches.append(len(deliveries))
        await self.confirm.wait()
        await super().acknowledge(*deliveries)


async def test_what_is_done_together_is_acknowledged_together(bench: Bench) -> None:
    """Handlers that end in one turn of the loop cost the broker one command."""
    jobs = SlowLedger()
    jobs.confirm.set()
    async with Worker(jobs, {"jobs": bench.app}):
        await put(jobs, 7)
        await eventually(lambda: len(bench.started) == 7, "seven handlers")
        bench.gate.set()
        await eventually(lambda: len(jobs.acknowledged) == 7, "the acknowledgements")
    assert jobs.batches == [7]


async def test_what_is_held_for_its_acknowledgement_is_bounded(bench: Bench) -> None:
    """The next messages come while the last are acknowledged; a broker that is slow bounds them."""
    jobs = SlowLedger()
    bench.gate.set()
    async with Worker(jobs, {"jobs": bench.app}, concurrency=2):
        await put(jobs, 30)
        await eventually(lambda: len(bench.ended) == 20, "ten messages for each slot")
        await asyncio.sleep(0.02)
        assert len(bench.started) == 20
        jobs.confirm.set()
        await eventually(lambda: len(jobs.acknowledged) == 30, "all messages")
    assert jobs.rejected == []


async def test_stopping_waits_for_acknowledgements(bench: Bench) -> None:
    """A job that is done is not repeated because its worker stops."""
    jobs = SlowLedger()
    bench.gate.set()
    async with asyncio.TaskGroup() as tasks:
        async with Worker(jobs, {"jobs": bench.app}, drain_timeout=0.01):
            await put(jobs, 2)
            await eventually(lambda: jobs.batches == [2], "the acknowledgement to be sent")
            tasks.create_task(confirm_later(jobs))
        assert sorted(jobs.acknowledged) == [0, 1]
    assert jobs.rejected == []


async def confirm_later(jobs: SlowLedger) -> None:
    await asyncio.sleep(0.05)
    jobs.confirm.set()


# Stopping


async def test_drain(jobs: Ledger, bench: Bench) -> None:
    """Stopping takes no new message and waits for the running handlers."""
    async with asyncio.TaskGroup() as tasks:
        async with Worker(jobs, {"jobs": bench.app}, concurrency=1):
            await put(jobs, 2)
            await eventually(lambda: bench.started == [0], "the handler to start")
            tasks.create_task(open_later(bench))
        assert bench.ended == [0]
    assert jobs.acknowledged == [0]
    assert bench.started == [0], "a message was taken after the stop"


async def open_later(bench: Bench) -> None:
    await asyncio.sleep(0.05)
    bench.gate.set()


async def test_what_does_not_drain_is_given_back(jobs: Ledger, bench: Bench) -> None:
    """After `drain_timeout` running handlers are cancelled, and another worker gets their messages."""
    async with Worker(jobs, {"jobs": bench.app}, drain_timeout=0.02):
        await put(jobs, 2)
        await eventually(lambda: len(bench.started) == 2, "the handlers to start")
    assert bench.ended == []
    assert jobs.rejected == [(0.0, False), (0.0, False)]
    bench.gate.set()
    async with Worker(jobs, {"jobs": bench.app}):
        await eventually(lambda: sorted(jobs.acknowledged) == [0, 1], "the second worker")


async def test_a_worker_that_has_stopped_may_start_again(jobs: Ledger, bench: Bench) -> None:
    bench.gate.set()
    worker = Worker(jobs, {"jobs": bench.app})
    for number in (1, 2):
        async with worker:
            await put(jobs, 1)
            await eventually(lambda wanted=number: len(jobs.acknowledged) == wanted, "the message")


async def test_cancelled_worker_drains_as_well(jobs: Ledger, bench: Bench) -> None:
    """A worker whose task is cancelled gives back what it cannot finish."""

    async def work() -> None:
        async with Worker(jobs, {"jobs": bench.app}, drain_timeout=0.02):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await put(jobs, 1)
    await eventually(lambda: bench.started == [0], "the handler to start")
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert jobs.rejected == [(0.0, False)]


# Wrong arguments


def test_pubsub_layer_is_refused() -> None:
    """A layer that keeps nothing is refused with an error that names layers that do."""
    layer = RedisPubSubChannelLayer()
    with pytest.raises(InvalidChannelLayerError, match=r"RedisChannelLayer.*not RedisPubSub"):
        Worker(layer, {"jobs": AsyncConsumer})


@pytest.mark.parametrize(
    ("routes", "error", "words"),
    [
        ({}, ValueError, "at least one route"),
        ({"jobs": "Consumer"}, TypeError, "'jobs' must be a consumer class"),
        ({"jobs": dict}, TypeError, "'jobs' must be a consumer class"),
        ({"no spaces": AsyncConsumer}, TypeError, "no spaces"),
    ],
)
def test_wrong_routes(routes: Any, error: type[Exception], words: str) -> None:
    """A route table that cannot work is refused when the worker is made."""
    with pytest.raises(error, match=words):
        Worker(InMemoryChannelLayer(), routes)


@pytest.mark.parametrize("name", ["concurrency", "max_attempts"])
def test_wrong_numbers(name: str) -> None:
    """A bound below one is a ValueError, not a worker that does nothing."""
    with pytest.raises(ValueError, match=name):
        Worker(InMemoryChannelLayer(), {"jobs": AsyncConsumer}, **{name: 0})  # type: ignore[arg-type]
