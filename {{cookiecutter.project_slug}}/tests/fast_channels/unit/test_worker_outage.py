"""What a worker does when its layer fails it: it goes on, and repeats as little as it can."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from fast_channels.exceptions import ChannelLayerUnavailable
from fast_channels.layers import Delivery, RedisChannelLayer
from fast_channels.worker import Worker

from ..support.expect import eventually
from ..support.redis_servers import RedisServer
from ..support.worker_bench import Bench, Ledger, put, put_after, raising


@pytest.fixture
async def broker() -> AsyncIterator[RedisServer]:
    """A server with an append-only file, that the test may stop."""
    with RedisServer(appendonly=True) as server:
        yield server


@pytest.fixture
async def layer(broker: RedisServer) -> AsyncIterator[RedisChannelLayer]:
    async with RedisChannelLayer([broker.url], lease=20, timeout=0.5) as layer:
        yield layer


async def test_a_job_that_ends_in_an_outage_is_not_repeated(
    broker: RedisServer, layer: RedisChannelLayer, bench: Bench
) -> None:
    """It is acknowledged when the broker is back, if that is within the lease."""
    async with Worker(layer, {"jobs": bench.app}):
        await put(layer, 1)
        await eventually(lambda: bench.started == [0], "the handler to start")
        await asyncio.to_thread(broker.stop)
        bench.gate.set()
        await eventually(lambda: bench.ended == [0], "the handler to end")
        with pytest.raises(ChannelLayerUnavailable):  # longer than one attempt to acknowledge takes
            await layer.depth("jobs")
        await asyncio.to_thread(broker.start)

        await eventually(lambda: is_done(layer), "the acknowledgement")
        await put(layer, 1)
        await eventually(lambda: bench.ended == [0, 0], "the next job")
    assert bench.started == [0, 0]


async def is_done(layer: RedisChannelLayer) -> bool:
    try:
        depth = await layer.depth("jobs")
    except ChannelLayerUnavailable:
        return False
    return depth.waiting + depth.leased == 0


async def test_an_acknowledgement_is_given_up_with_the_lease(
    jobs: Ledger, bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who could not say for the length of a lease that a job is done leaves it to another worker."""
    monkeypatch.setattr("fast_channels.worker.FIRST_RETRY", 0.15)
    tries = []

    async def acknowledge(*deliveries: Delivery) -> None:
        tries.append(deliveries)
        raise ChannelLayerUnavailable("no broker")

    monkeypatch.setattr(jobs, "acknowledge", acknowledge)
    jobs.lease_time = 0.9
    bench.gate.set()
    async with Worker(jobs, {"jobs": bench.app}):
        await put(jobs, 1)
        await eventually(lambda: "left to its lease" in caplog.text, "the log line")
    assert 2 <= len(tries) <= 6


async def test_a_failing_release_does_not_end_the_worker(
    jobs: Ledger, bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker of several channels that cannot give back what it has no slot for takes the next."""

    async def release(delivery: Delivery) -> None:
        raise ChannelLayerUnavailable("no broker")

    monkeypatch.setattr(jobs, "release", release)
    for channel in ("red", "green"):
        await put(jobs, 1, channel)
    async with Worker(jobs, {"red": bench.app, "green": bench.app}, concurrency=1):
        await eventually(
            lambda: "left to its lease" in caplog.text, "the message that found no slot"
        )
        bench.gate.set()
        await put(jobs, 2, "red")
        await eventually(lambda: len(bench.ended) == 3, "the messages after it")


async def test_a_lost_lease_is_logged_once_and_the_handler_runs_on(
    jobs: Ledger, bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its work may still be in time: a late acknowledgement counts."""

    async def renew(delivery: Delivery) -> bool:
        return False

    monkeypatch.setattr(jobs, "renew", renew)
    jobs.lease_time = 0.03
    async with Worker(jobs, {"jobs": bench.app}):
        await put(jobs, 1)
        await eventually(lambda: "was lost" in caplog.text, "the log line")
        await asyncio.sleep(0.05)
        bench.gate.set()
        await eventually(lambda: jobs.acknowledged == [0], "the acknowledgement")
    assert caplog.text.count("was lost") == 1


async def test_an_error_without_words_is_named(jobs: Ledger) -> None:
    """A reason is found even for an exception that fails to describe itself."""

    class Odd(Exception):
        def __repr__(self) -> str:
            raise RuntimeError("no words")

        __str__ = __repr__

    async with Worker(jobs, {"jobs": raising(Odd())}, max_attempts=1):
        await put(jobs, 1)
        (letter,) = await jobs.buried()
    assert letter.reason == "Odd"


async def test_a_message_whose_attempts_never_ended_says_so(jobs: Ledger, bench: Bench) -> None:
    """The reason of a dead letter that no handler's error explains."""
    await put_after(jobs, 5)
    async with Worker(jobs, {"jobs": bench.app}, max_attempts=5):
        (letter,) = await jobs.buried()
    assert "workers died" in letter.reason
    assert bench.started == []
