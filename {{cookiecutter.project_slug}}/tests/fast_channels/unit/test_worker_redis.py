"""The worker on the queue layer and a real Redis: leases, crashes, dead letters."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from fast_channels.consumer import AsyncConsumer
from fast_channels.layers import Depth, RedisChannelLayer
from fast_channels.worker import Worker

from ..support.expect import eventually
from ..support.redis_servers import RedisServer
from ..support.worker_bench import Bench, put, raising

LEASE = 2.0  # seconds; a starved machine renews in time


@pytest.fixture
async def make_layer(redis_server: RedisServer) -> AsyncIterator[Callable[..., RedisChannelLayer]]:
    """Makes layers as several processes of one app have them; a lease lasts 2 s."""
    layers: list[RedisChannelLayer] = []
    prefix = f"worker-{uuid.uuid4().hex[:8]}"

    def make(lease: float = LEASE, url: str = redis_server.url) -> RedisChannelLayer:
        layers.append(RedisChannelLayer([url], prefix, lease=lease))
        return layers[-1]

    yield make
    for layer in layers:
        await layer.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
def jobs(make_layer: Callable[..., RedisChannelLayer]) -> RedisChannelLayer:
    return make_layer()


@pytest.fixture
def stored(redis_server: RedisServer, jobs: RedisChannelLayer) -> Callable[[], dict[str, int]]:
    """How many messages each of the layer's keys holds in Redis; empty ones are left out."""

    def lengths() -> dict[str, int]:
        keys = redis_server.execute("KEYS", f"{jobs.prefix}:[cd]:*")
        found = {key: redis_server.execute("XLEN", key) for key in keys}
        return {key: length for key, length in found.items() if length}

    return lengths


async def test_a_full_worker_takes_few_commands(
    make_layer: Callable[..., RedisChannelLayer], bench: Bench, server: RedisServer
) -> None:
    """Ten messages that wait are leased at once, and acknowledged at once if they end together."""
    jobs = make_layer(lease=60, url=server.url)

    def scripts_run() -> int:
        calls: int = server.execute("INFO", "commandstats")["cmdstat_evalsha"]["calls"]
        return calls

    await put(jobs, 10)
    before = scripts_run()
    async with Worker(jobs, {"jobs": bench.app}, concurrency=10):
        await eventually(lambda: len(bench.started) == 10, "ten handlers")
        leased = scripts_run()
        assert leased - before <= 2  # the first makes the consumer group known, and may be repeated
        bench.gate.set()
        await eventually(lambda: jobs_left(server, jobs) == 0, "the acknowledgements")
        assert scripts_run() - leased <= 3  # one of them looks for more


def jobs_left(server: RedisServer, jobs: RedisChannelLayer) -> int:
    return sum(server.execute("XLEN", key) for key in server.execute("KEYS", f"{jobs.prefix}:*"))


async def test_acknowledged_after_the_handler(
    jobs: RedisChannelLayer, bench: Bench, stored: Callable[[], dict[str, int]]
) -> None:
    """The message stays in Redis while its handler runs, and is gone when it has returned."""
    async with Worker(jobs, {"jobs": bench.app}):
        await put(jobs, 1)
        await eventually(lambda: bench.started == [0], "the handler to start")
        assert list(stored().values()) == [1]
        bench.gate.set()
        await eventually(lambda: stored() == {}, "the acknowledgement")


async def test_each_message_has_one_worker(
    make_layer: Callable[..., RedisChannelLayer], bench: Bench, stored: Callable[[], dict[str, int]]
) -> None:
    """Several workers share a channel's messages; none is handled twice, none is left out."""
    bench.gate.set()
    first, second = make_layer(), make_layer()
    async with (
        Worker(first, {"jobs": bench.app}, concurrency=2),
        Worker(second, {"jobs": bench.app}, concurrency=2),
    ):
        await put(first, 60)
        await eventually(lambda: len(bench.ended) >= 60, "all messages")
        await eventually(lambda: stored() == {}, "the acknowledgements")
    assert sorted(bench.ended) == list(range(60))


async def test_what_finds_no_slot_is_another_workers(
    make_layer: Callable[..., RedisChannelLayer], bench: Bench
) -> None:
    """Quick jobs let a worker take many at once; if they turn slow, the others get what it cannot run."""
    first, second = make_layer(), make_layer()
    bench.gate.set()
    async with Worker(first, {"jobs": bench.app}, concurrency=2):
        await put(first, 2)
        await eventually(lambda: len(bench.ended) == 2, "a round of quick jobs")
        bench.gate.clear()
        await asyncio.gather(
            *(first.send("jobs", {"type": "job", "number": n}) for n in range(2, 10))
        )
        await eventually(lambda: len(bench.started) == 4, "a job in each slot")
        async with Worker(second, {"jobs": bench.app}, concurrency=6):
            await eventually(lambda: len(bench.started) == 10, "the other worker")
            assert sorted(bench.started) == list(range(10)), "one was begun twice"
            bench.gate.set()
            await eventually(lambda: len(bench.ended) == 10, "all jobs")


async def test_one_slot_keeps_the_order(jobs: RedisChannelLayer) -> None:
    """Also when quick jobs and such that wait take turns: nothing is given back and overtaken."""
    ended: list[int] = []

    class Mixed(AsyncConsumer):
        async def job(self, message: dict[str, Any]) -> None:
            if message["number"] % 3 == 2:
                await asyncio.sleep(0)
            ended.append(message["number"])

    await put(jobs, 60)
    async with Worker(jobs, {"jobs": Mixed}, concurrency=1):
        await eventually(lambda: len(ended) == 60, "all messages")
    assert ended == list(range(60))


async def test_several_channels(make_layer: Callable[..., RedisChannelLayer]) -> None:
    """A worker of several channels handles each message once, at its first attempt."""
    layer = make_layer(lease=60)
    seen: list[tuple[str, int, int]] = []

    class Noting(AsyncConsumer):
        async def job(self, message: dict[str, Any]) -> None:
            await asyncio.sleep(0.001)
            seen.append((self.scope["channel"], message["number"], self.scope["attempt"]))

    channels = ("red", "green", "blue")
    async with Worker(layer, dict.fromkeys(channels, Noting), concurrency=2):
        for channel in channels:
            await put(layer, 20, channel)
        await eventually(lambda: len(seen) >= 60, "all messages")
        await asyncio.sleep(0.1)
    assert sorted(seen) == sorted((channel, n, 1) for channel in channels for n in range(20))


async def test_lease_is_renewed_while_the_handler_runs(
    make_layer: Callable[..., RedisChannelLayer], bench: Bench
) -> None:
    """A handler that takes longer than the lease keeps its message, beside an idle worker."""
    first, second = make_layer(), make_layer()
    idle = Bench()
    async with Worker(first, {"jobs": bench.app}):
        await put(first, 1)
        await eventually(lambda: bench.started == [0], "the handler to start")
        async with Worker(second, {"jobs": idle.app}):
            await asyncio.sleep(2 * LEASE)  # also over the second in which a layer looks for leases
            assert idle.started == []
            bench.gate.set()
            await eventually(lambda: bench.ended == [0], "the handler to end")
            await eventually(lambda: jobs_are_done(first), "the acknowledgement")
        assert idle.started == []


async def jobs_are_done(layer: RedisChannelLayer) -> bool:
    return await layer.depth("jobs") == Depth(0, 0, 0)


async def test_message_of_a_dead_worker_comes_again(
    make_layer: Callable[..., RedisChannelLayer],
) -> None:
    """What a process held when it died is delivered again when its lease has ended."""
    dead, alive = make_layer(), make_layer()
    await put(dead, 1)
    (held,) = await dead.lease("jobs")  # and never heard of again
    await dead.aclose()
    attempts = []

    class Noting(AsyncConsumer):
        async def job(self, message: dict[str, Any]) -> None:
            attempts.append((self.scope["id"], self.scope["attempt"]))

    async with Worker(alive, {"jobs": Noting}):
        await eventually(lambda: len(attempts) == 1, "the message")
    assert attempts == [(held.id, 2)]


async def test_all_messages_of_a_dead_worker_come_again_at_once(
    make_layer: Callable[..., RedisChannelLayer], bench: Bench
) -> None:
    """However many a process held, they are not trickled to a worker that takes one at a time."""
    dead, alive = make_layer(), make_layer()
    bench.gate.set()
    await put(dead, 20)
    held = await dead.lease("jobs", 20)
    await dead.aclose()
    async with Worker(alive, {"jobs": bench.app}, concurrency=1):
        await eventually(lambda: len(bench.ended) == len(held), "all of them", within=15)


async def test_failing_message_becomes_a_dead_letter(
    jobs: RedisChannelLayer,
    stored: Callable[[], dict[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After max_attempts the message is out of the channel, and kept as a dead letter."""
    monkeypatch.setattr("fast_channels.worker.FIRST_RETRY", 0.01)
    async with Worker(jobs, {"jobs": raising(ZeroDivisionError())}, max_attempts=3):
        await put(jobs, 1)
        dead_letter = {f"{jobs.prefix}:d:{{jobs}}": 1}
        await eventually(lambda: stored() == dead_letter, "the dead letter")


async def test_retry_waits(jobs: RedisChannelLayer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed message is not tried again before its delay is over."""
    monkeypatch.setattr("fast_channels.worker.FIRST_RETRY", 0.3)
    times: list[float] = []

    async def job(self: Any, message: dict[str, Any]) -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 1:
            raise ZeroDivisionError

    failing_once = type("FailingOnce", (raising(ZeroDivisionError()),), {"job": job})
    async with Worker(jobs, {"jobs": failing_once}):
        await put(jobs, 1)
        await eventually(lambda: len(times) == 2, "the second attempt")
    assert times[1] - times[0] >= 0.29


async def test_what_does_not_drain_is_given_back_at_once(
    make_layer: Callable[..., RedisChannelLayer], bench: Bench
) -> None:
    """A stopped worker's unfinished message is another worker's without waiting for the lease."""
    stopped, next_one = make_layer(lease=60), make_layer(lease=60)
    async with Worker(stopped, {"jobs": bench.app}, drain_timeout=0.01):
        await put(stopped, 1)
        await eventually(lambda: bench.started == [0], "the handler to start")
    bench.gate.set()
    async with Worker(next_one, {"jobs": bench.app}):
        await eventually(lambda: bench.ended == [0], "the next worker")
