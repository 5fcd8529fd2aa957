"""What a worker does with a message: handled and acknowledged, or retried and buried."""

import asyncio
import logging
from typing import Any

import pytest

from fast_channels.consumer import AsyncConsumer
from fast_channels.exceptions import ChannelLayerUnavailable, StopConsumer
from fast_channels.layers import (
    Delivery,
    InMemoryChannelLayer,
    register_channel_layer,
    unregister_channel_layer,
)
from fast_channels.worker import Worker

from ..support.expect import eventually
from ..support.worker_bench import Bench, Ledger, put, put_after, raising

# Handling


async def test_handler_sees_message_and_delivery(jobs: Ledger) -> None:
    """A new consumer for each message; its scope tells channel, id and attempt."""
    seen: list[Any] = []

    class Noting(AsyncConsumer):
        async def job(self, message: dict[str, Any]) -> None:
            seen.append((self, self.scope, message))

    async with Worker(jobs, {"jobs": Noting}):
        await put(jobs, 2)
        await eventually(lambda: len(seen) == 2, "both messages")
    (first, scope, message), (second, other, _) = seen
    assert message == {"type": "job", "number": 0}
    assert {**scope, "id": ""} == {"type": "channel", "channel": "jobs", "id": "", "attempt": 1}
    assert scope["id"] != other["id"]
    assert first is not second


async def test_an_overridden_dispatch_is_called(jobs: Ledger) -> None:
    seen: list[int] = []

    class Noting(AsyncConsumer):
        async def dispatch(self, message: dict[str, Any]) -> None:
            seen.append(message["number"])

    async with Worker(jobs, {"jobs": Noting}):
        await put(jobs, 2)
        await eventually(lambda: jobs.acknowledged == [0, 1], "both messages")
    assert seen == [0, 1]


async def test_acknowledged_after_the_handler(jobs: Ledger, bench: Bench) -> None:
    """A message is acknowledged when its handler has returned, not before."""
    async with Worker(jobs, {"jobs": bench.app}):
        await put(jobs, 1)
        await eventually(lambda: bench.started == [0], "the handler to start")
        assert jobs.acknowledged == []
        bench.gate.set()
        await eventually(lambda: jobs.acknowledged == [0], "the acknowledgement")
    assert jobs.rejected == []


async def test_stop_consumer_is_success(jobs: Ledger) -> None:
    """A handler that raises StopConsumer has dealt with its message."""
    async with Worker(jobs, {"jobs": raising(StopConsumer())}):
        await put(jobs, 1)
        await eventually(lambda: jobs.acknowledged == [0], "the acknowledgement")


async def test_handler_answers_on_its_own_layer(jobs: Ledger) -> None:
    """The consumer's channel_layer_alias, not the worker's layer, is where it sends."""

    class Answering(AsyncConsumer):
        async def job(self, message: dict[str, Any]) -> None:
            await self.channel_layer.send(message["reply"], {"type": "done"})

    default = InMemoryChannelLayer()
    register_channel_layer("default", default)
    try:
        reply = await default.new_channel()
        async with Worker(jobs, {"jobs": Answering}), asyncio.timeout(30):
            await jobs.send("jobs", {"type": "job", "number": 0, "reply": reply})
            assert await default.receive(reply) == {"type": "done"}
            await eventually(lambda: jobs.acknowledged == [0], "the acknowledgement")
    finally:
        unregister_channel_layer("default")


# Failing


@pytest.mark.parametrize("lease", [None, 5.0])
async def test_retried_later_each_time_then_buried(jobs: Ledger, lease: float | None) -> None:
    """A failing message is tried max_attempts times, after 1, 2, 4 … s, however short a lease is, and
    is a dead letter.
    """
    jobs.lease_time = lease
    attempts = []

    class Failing(AsyncConsumer):
        async def job(self, message: dict[str, Any]) -> None:
            attempts.append((self.scope["id"], self.scope["attempt"]))
            raise ZeroDivisionError

    async with Worker(jobs, {"jobs": Failing}, max_attempts=8):
        await put(jobs, 1)
        (letter,) = await jobs.buried()
    assert [attempt for _, attempt in attempts] == list(range(1, 9))
    assert len({identity for identity, _ in attempts}) == 1
    assert [delay for delay, final in jobs.rejected if not final] == [1, 2, 4, 8, 16, 32, 60]
    assert letter.message == {"type": "job", "number": 0}
    assert letter.id == attempts[0][0]
    assert (letter.attempts, letter.reason) == (8, "ZeroDivisionError()")
    assert jobs.acknowledged == []


async def test_an_attempt_of_a_large_number_waits_no_longer(jobs: Ledger) -> None:
    """Where twice the delay for each attempt would be more than a float holds."""
    await put_after(jobs, 1099)
    async with Worker(jobs, {"jobs": raising(KeyError())}, max_attempts=1101):
        await jobs.buried()
    assert jobs.rejected[1099:] == [(60, False), (60, True)]


async def test_failure_is_logged(jobs: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """Each failed attempt is in the log, with its number, its channel and the traceback."""
    async with Worker(jobs, {"jobs": raising(KeyError("the reason"))}, max_attempts=2):
        await put(jobs, 1)
        await jobs.buried()
    assert "Attempt 1 of 2" in caplog.text
    assert "Attempt 2 of 2" in caplog.text
    assert "the reason" in caplog.text


@pytest.mark.parametrize("message", [{"type": "no.such"}, {"type": "_private"}, {"number": 0}])
async def test_message_without_a_handler_is_a_failure(jobs: Ledger, message: Any) -> None:
    """A message that no method handles ends as a dead letter, and others are still handled."""
    done = []

    class Noting(AsyncConsumer):
        async def job(self, message: dict[str, Any]) -> None:
            done.append(message["number"])

    async with Worker(jobs, {"jobs": Noting}, max_attempts=2):
        await jobs.send("jobs", message)
        await put(jobs, 1)
        await jobs.buried()
        await eventually(lambda: done == [0], "the good message")


async def test_handler_that_is_cancelled_from_inside(jobs: Ledger) -> None:
    """A CancelledError of the handler's own is a failed attempt, not the worker's end."""
    async with Worker(jobs, {"jobs": raising(asyncio.CancelledError())}, max_attempts=3):
        await put(jobs, 1)
        await jobs.buried()
    assert jobs.rejected == [(1, False), (2, False), (4, True)]


async def test_message_that_kills_its_workers_is_buried(jobs: Ledger, bench: Bench) -> None:
    """A message whose every attempt ended with its worker's death is not tried for ever."""
    bench.gate.set()
    await put_after(jobs, 5)
    async with Worker(jobs, {"jobs": bench.app}, max_attempts=5):
        await jobs.buried()
    assert bench.started == []


async def test_who_waits_is_told_before_a_message_is_buried(jobs: Ledger) -> None:
    """Its message and the last error; once more if the broker was away."""
    told: list[tuple[dict[str, Any], str, int]] = []

    async def tell(message: dict[str, Any], error: BaseException) -> None:
        told.append((message, type(error).__name__, len(jobs.rejected)))
        if len(told) == 1:
            raise ChannelLayerUnavailable("no broker")

    failing = raising(KeyError("x"))
    async with Worker(jobs, {"jobs": failing}, max_attempts=3, on_dead=tell):
        await put(jobs, 1)
        (letter,) = await jobs.buried()
    message = {"type": "job", "number": 0}
    assert told == [(message, "KeyError", 2), (message, "NoAttemptEnded", 3)]
    assert jobs.rejected == [(1, False), (2, False), (4, False), (8, True)]
    assert letter.message == message


async def test_a_message_of_which_nobody_can_be_told_is_buried(
    jobs: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    async def tell(message: dict[str, Any], error: BaseException) -> None:
        raise ZeroDivisionError

    failing = raising(KeyError("x"))
    async with Worker(jobs, {"jobs": failing}, max_attempts=1, on_dead=tell):
        await put(jobs, 1)
        (letter,) = await jobs.buried()
    assert letter.reason == "KeyError('x')"
    assert "ZeroDivisionError" in caplog.text


async def test_a_failing_renewal_is_tried_again(
    jobs: Ledger, bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the layer raises: the handler runs on, and its lease is renewed the next time."""
    jobs.lease_time = 0.03
    renewed: list[bool] = []

    async def failing_once(delivery: Delivery) -> bool:
        renewed.append(bool(renewed))
        if len(renewed) == 1:
            raise OSError("broken")
        return True

    monkeypatch.setattr(jobs, "renew", failing_once)
    async with Worker(jobs, {"jobs": bench.app}):
        await put(jobs, 1)
        await eventually(lambda: renewed[:3] == [False, True, True], "the next renewals")
        bench.gate.set()
    assert jobs.acknowledged == [0]
    assert "is not renewed: broken" in caplog.text


async def test_a_failing_lease_is_tried_again(
    jobs: Ledger, bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of the layer while leasing is logged, and the channel is served again."""
    monkeypatch.setattr("fast_channels.worker.FIRST_RETRY", 0.01)
    errors = [OSError("broken")]
    lease = jobs.lease

    async def failing_once(channel: str, count: int = 1) -> list[Delivery]:
        if errors:
            raise errors.pop()
        return await lease(channel, count)

    monkeypatch.setattr(jobs, "lease", failing_once)
    bench.gate.set()
    async with Worker(jobs, {"jobs": bench.app}):
        await put(jobs, 1)
        await eventually(lambda: bench.ended == [0], "the message")
    assert "broken" in caplog.text


async def test_log_says_what_is_left(jobs: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """If a message can be neither acknowledged nor given back, its lease ends it: logged."""

    async def broken(delivery: Delivery) -> None:
        raise ConnectionError("no broker")

    jobs.acknowledge = broken  # type: ignore[method-assign]
    caplog.set_level(logging.ERROR)
    async with Worker(jobs, {"jobs": raising(StopConsumer())}):
        await put(jobs, 1)
        await eventually(lambda: "left to its lease" in caplog.text, "the log line")
