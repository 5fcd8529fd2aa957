"""What is closed ends within bounds, whatever its tasks do with their cancellation."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import pytest
from redis.asyncio.sentinel import SentinelConnectionPool

from fast_channels.layers.redis.client.hosts import parse_hosts
from fast_channels.layers.redis.client.servers import KeptConnection
from fast_channels.tasks import cancel_and_wait

DEADLINE = 10.0  # seconds; only a failing test waits so long


class Stubborn:
    """Goes on after so many cancellations."""

    def __init__(self, times: int) -> None:
        self.times = times

    async def run(self) -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                self.times -= 1
                if self.times < 0:
                    raise


def ignoring(times: int) -> Coroutine[Any, Any, None]:
    return Stubborn(times).run()


async def started(*coroutines: Coroutine[Any, Any, None]) -> list[asyncio.Task[None]]:
    """Tasks that wait already."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    await asyncio.sleep(0)
    return tasks


async def test_tasks_are_cancelled_once() -> None:
    """One that obeys is asked once, and nothing is left."""
    tasks = await started(ignoring(0), ignoring(0))
    async with asyncio.timeout(DEADLINE):
        assert await cancel_and_wait(tasks) == set()
    assert all(task.cancelled() for task in tasks)
    assert [task.cancelling() for task in tasks] == [1, 1]


async def test_a_swallowed_cancellation_is_repeated() -> None:
    """As often as it takes; others are not asked again."""
    stubborn, obedient = await started(ignoring(3), ignoring(0))
    async with asyncio.timeout(DEADLINE):
        assert await cancel_and_wait([stubborn, obedient], again=0.01) == set()
    assert stubborn.cancelled()
    assert stubborn.cancelling() == 4
    assert obedient.cancelling() == 1


async def test_what_ignores_its_cancellation_is_not_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After the time-out the caller goes on; the task is returned, and named in one warning."""
    job = Stubborn(1_000_000)
    stubborn, obedient = await started(job.run(), ignoring(0))
    stubborn.set_name("stubborn")
    async with asyncio.timeout(DEADLINE):
        left = await cancel_and_wait([stubborn, obedient], 0.1, again=0.02)
    assert left == {stubborn}
    assert [record.getMessage() for record in caplog.records] == [
        "1 task(s) ignore their cancellation: stubborn"
    ]
    assert caplog.records[0].levelno == logging.WARNING
    await end(job, stubborn)


async def test_a_task_has_time_for_what_it_does_at_its_end() -> None:
    """It is not cancelled again while `again` seconds have not passed."""
    cleaned = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.05)
            cleaned.set()

    (task,) = await started(work())
    async with asyncio.timeout(DEADLINE):
        assert await cancel_and_wait([task]) == set()
    assert cleaned.is_set()


async def test_errors_at_the_end_are_dropped() -> None:
    """Neither raised nor reported as forgotten; tasks that have ended before are fine, too."""
    forgotten: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: forgotten.append(context))

    async def failing() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise RuntimeError("at the end")

    tasks = await started(failing(), asyncio.sleep(0))
    async with asyncio.timeout(DEADLINE):
        assert await cancel_and_wait(tasks) == set()
    del tasks
    assert forgotten == []


async def test_the_task_that_waits_is_left_out() -> None:
    """Who closes what it belongs to does not wait for itself."""
    (other,) = await started(ignoring(0))
    async with asyncio.timeout(DEADLINE):
        assert await cancel_and_wait([own_task(), other]) == set()
    assert own_task().cancelling() == 0


async def test_the_wait_can_be_cancelled() -> None:
    """Whoever waits is not bound to the end of tasks that ignore theirs."""
    job = Stubborn(1_000_000)
    (stubborn,) = await started(job.run())
    (closing,) = await started(wait_long(stubborn))
    closing.cancel()
    async with asyncio.timeout(DEADLINE):
        await asyncio.wait([closing])
    assert closing.cancelled()
    await end(job, stubborn)


async def wait_long(task: asyncio.Task[None]) -> None:
    await cancel_and_wait([task], 3600)


def own_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def end(job: Stubborn, task: asyncio.Task[None]) -> None:
    job.times = 0
    task.cancel()
    await asyncio.wait([task], timeout=DEADLINE)


async def test_a_cancellation_swallowed_by_a_question_to_the_sentinels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """redis-py may turn it into a time-out, each time: the task that asks ends all the same."""
    asked = asyncio.Event()

    class Pool(SentinelConnectionPool):
        def __init__(self) -> None:
            """Without Sentinels."""
            self.master_address = ("old", 1)

        async def get_master_address(self) -> tuple[str, int]:
            asked.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                raise TimeoutError from None
            raise AssertionError("nobody has cancelled it")

    monkeypatch.setattr("fast_channels.layers.redis.client.servers.FOLLOW_INTERVAL", 0)
    kept: Any = KeptConnection(parse_hosts(["redis://127.0.0.1:1"])[0], timeout=1)
    (task,) = await started(kept._follow(Pool(), None))
    async with asyncio.timeout(DEADLINE):
        await asked.wait()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
