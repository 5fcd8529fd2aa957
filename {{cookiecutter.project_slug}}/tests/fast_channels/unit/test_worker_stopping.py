"""How many handlers a worker runs, how it stops, and the arguments that it refuses."""

import asyncio
import contextvars
from typing import Any

import pytest
from hypothesis import given, strategies as st

from fast_channels.consumer import AsyncConsumer
from fast_channels.exceptions import InvalidChannelLayerError
from fast_channels.layers import Delivery, InMemoryChannelLayer, RedisPubSubChannelLayer
from fast_channels.worker import Worker

from ..support.expect import eventually
from ..support.properties import sequences
from ..support.worker_bench import Bench, Ledger, put

# Concurrency


async def test_concurrency_is_a_bound(jobs: Ledger, bench: Bench) -> None:
    """At most `concurrency` handlers run, and no more messages than that are leased."""
    async with Worker(jobs, {"jobs": bench.app}, concurrency=3):
        await put(jobs, 10)
        await eventually(lambda: len(bench.started) == 3, "three handlers")
        await asyncio.sleep(0.02)
        assert len(bench.started) == 3
        assert len(jobs.local.mailboxes["jobs"]) == 7
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


waits = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12), max_size=8)


@given(concurrency=st.integers(1, 4), batches=waits, pauses=st.lists(st.integers(0, 4), min_size=8))
@sequences(100, steps=1)
def test_any_jobs(concurrency: int, batches: list[list[int]], pauses: list[int]) -> None:
    """However long each waits: they begin in their order, and never more than `concurrency` run."""
    begun: list[int] = []
    running = most = 0

    class Waiting(AsyncConsumer):
        async def job(self, message: dict[str, Any]) -> None:
            nonlocal running, most
            begun.append(message["number"])
            running += 1
            most = max(most, running)
            for _ in range(message["turns"]):
                await asyncio.sleep(0)
            running -= 1

    async def work() -> None:
        jobs = Ledger()
        number = 0
        async with Worker(jobs, {"jobs": Waiting}, concurrency=concurrency):
            for batch, pause in zip(batches, pauses, strict=False):
                for turns in batch:
                    await jobs.send("jobs", {"type": "job", "number": number, "turns": turns})
                    number += 1
                for _ in range(pause):
                    await asyncio.sleep(0)
            await eventually(lambda: len(jobs.acknowledged) == number, "all messages")
        assert sorted(jobs.acknowledged) == begun == list(range(number))
        assert jobs.rejected == []

    asyncio.run(work())
    assert most <= concurrency


trace = contextvars.ContextVar("trace", default="nothing")


async def test_what_a_job_leaves_behind_no_other_sees(jobs: Ledger) -> None:
    """Neither a context variable, nor a cancellation of its task that came too late for it."""
    seen: list[tuple[str, int]] = []

    class Leaving(AsyncConsumer):
        async def job(self, message: dict[str, Any]) -> None:
            task = asyncio.current_task()
            assert task is not None
            seen.append((trace.get(), task.cancelling()))
            trace.set("a job's own")
            task.cancel()

    async with Worker(jobs, {"jobs": Leaving}, concurrency=2):
        await put(jobs, 6)
        await eventually(lambda: len(jobs.acknowledged) == 6, "all messages")
    assert seen == [("nothing", 0)] * 6


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


class Stubborn(AsyncConsumer):
    """Its jobs ignore their cancellation until they are let go."""

    def __init__(self, let_go: asyncio.Event) -> None:
        self.let_go = let_go

    async def job(self, message: dict[str, Any]) -> None:
        while not self.let_go.is_set():
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                continue


async def test_a_job_that_ignores_its_cancellation_is_left_behind(
    jobs: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It keeps neither its worker nor its message; when it ends after all, that counts."""
    monkeypatch.setattr("fast_channels.worker.CANCEL_TIMEOUT", 0.1)
    let_go = asyncio.Event()
    app = Stubborn.as_asgi(let_go=let_go)
    async with asyncio.timeout(10):
        async with Worker(jobs, {"jobs": app}, drain_timeout=0.01):
            await put(jobs, 1)
            await eventually(lambda: len(jobs._jobs) == 1, "the handler to start")
        assert jobs.rejected == [(0.0, False)]
        assert caplog.text.count("ignore their cancellation: message ") == 1
        (delivery,) = await jobs.lease("jobs")
        assert delivery.attempt == 2
    let_go.set()
    await eventually(lambda: jobs.acknowledged == [0], "the late acknowledgement")
    assert jobs.rejected == [(0.0, False)]


async def test_what_else_the_loop_complains_of_is_heard(
    jobs: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By the application's own handler, or the loop's: of jobs that were left behind it says nothing."""
    monkeypatch.setattr("fast_channels.worker.CANCEL_TIMEOUT", 0.1)
    let_go = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def leave_one_behind() -> None:
        async with Worker(jobs, {"jobs": Stubborn.as_asgi(let_go=let_go)}, drain_timeout=0.01):
            await put(jobs, 1)
            await eventually(lambda: len(jobs._jobs) == 1, "the handler to start")
        await jobs.flush()

    await leave_one_behind()
    loop.call_exception_handler({"message": "an accident", "task": asyncio.current_task()})
    assert "an accident" in caplog.text
    heard: list[str] = []
    loop.set_exception_handler(lambda loop, context: heard.append(context["message"]))
    await leave_one_behind()
    loop.call_exception_handler({"message": "another accident"})
    assert heard == ["another accident"]
    let_go.set()
    await eventually(lambda: len(jobs.acknowledged) == 2, "the late ends")


async def test_a_job_that_cleans_up_has_time_for_it(jobs: Ledger) -> None:
    """What it awaits upon its cancellation is not cancelled at once."""
    story: list[str] = []

    class Careful(AsyncConsumer):
        async def job(self, message: dict[str, Any]) -> None:
            try:
                story.append("begun")
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.1)
                story.append("cleaned up")

    async with Worker(jobs, {"jobs": Careful}, drain_timeout=0.01):
        await put(jobs, 1)
        await eventually(lambda: story == ["begun"], "the handler to start")
    assert story == ["begun", "cleaned up"]
    assert jobs.rejected == [(0.0, False)]


async def test_stopping_in_a_hurry(jobs: Ledger, bench: Bench) -> None:
    """A worker that is cancelled while it drains waits for no handler, and gives their messages back."""

    async def work() -> None:
        async with Worker(jobs, {"jobs": bench.app}, drain_timeout=3600):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await put(jobs, 1)
    await eventually(lambda: bench.started == [0], "the handler to start")
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.05)
    await eventually(lambda: task.done() and jobs.rejected == [(0.0, False)], "the end")


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
