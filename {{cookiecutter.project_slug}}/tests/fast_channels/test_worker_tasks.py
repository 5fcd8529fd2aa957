"""The slots of a worker: which jobs share a task, which are given back, what they see of each other."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest
from hypothesis import given, strategies as st

from fast_channels import worker_slots
from fast_channels.worker_slots import LEAD, QUICK, Slots
from properties import Clock, sequences

Job: TypeAlias = Callable[[], Awaitable[object]]

trace = contextvars.ContextVar("trace", default="nothing")


class Shift:
    """Slots, and what became of the jobs that were put into them."""

    def __init__(self, number: int) -> None:
        self.begun: list[Job] = []
        self.ended: list[Job] = []
        self.returned: list[Job] = []
        self.tasks: list[asyncio.Task[Any]] = []  # of those that began
        self.most = 0  # that ran at once
        self.slots = Slots(number, self.handle, self.returned.extend)

    async def handle(self, job: Job) -> None:
        self.begun.append(job)
        self.tasks.append(running_task())
        self.most = max(self.most, len(self.begun) - len(self.ended))
        try:
            await job()
        finally:
            self.ended.append(job)


def running_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def nothing() -> None:
    """Waits for nothing."""


def waiting(turns: int = 1) -> Job:
    async def wait() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    return wait


def taking(clock: Clock, seconds: float) -> Job:
    async def take() -> None:
        clock.now += seconds

    return take


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(worker_slots, "time", clock)
    return clock


async def settle() -> None:
    """All that waits for no more than some turns of the loop has happened."""
    for _ in range(30):
        await asyncio.sleep(0)


async def test_jobs_that_wait_for_nothing_share_a_task() -> None:
    shift = Shift(4)
    shift.slots.put([nothing] * 4)
    await settle()
    assert len(shift.ended) == 4
    assert len(set(shift.tasks)) == 1


async def test_a_job_that_has_waited_shares_its_task_with_no_later_one() -> None:
    """What it may have tied to its task, such as a database session, stays its own."""
    shift = Shift(2)
    shift.slots.put([waiting()])
    await asyncio.sleep(0)
    shift.slots.put([nothing])  # which is ready when the first goes on
    await settle()
    assert len(shift.ended) == 2
    assert len(set(shift.tasks)) == 2


async def test_jobs_that_wait_begin_in_the_same_turn_of_the_loop() -> None:
    """So they end together where they can, and share a round trip; or in the next, if others did not wait."""
    shift = Shift(8)
    for begun, jobs in (8, [waiting()] * 8), (8, [nothing] * 8), (1, [waiting()] * 8):
        before = len(shift.begun)
        shift.slots.put(jobs)
        await asyncio.sleep(0)
        assert len(shift.begun) == before + begun
        await asyncio.sleep(0)
        assert len(shift.begun) == before + 8
        await settle()


async def set_trace() -> None:
    assert trace.get() == "nothing"
    trace.set("a job's own")


async def leave_a_cancellation() -> None:
    task = running_task()
    assert not task.cancelling()
    task.cancel()


@pytest.mark.parametrize("job", [set_trace, leave_a_cancellation])
async def test_what_a_job_leaves_behind_no_other_sees(job: Job) -> None:
    shift = Shift(3)
    shift.slots.put([job] * 3)
    await settle()
    assert len(shift.ended) == 3
    assert len(set(shift.tasks)) == 3
    await shift.slots.drain(0)


async def test_more_are_put_after_a_full_round_without_waiting() -> None:
    """A single quick job says little; a job that waits ends it."""
    shift = Shift(3)
    rooms = []
    for jobs in ([nothing] * 2, [nothing] * 3, [nothing] * 14 + [waiting()], [nothing] * 3):
        shift.slots.put(jobs)
        await settle()
        rooms.append(shift.slots.room)
    assert rooms == [3, 3 * LEAD, 3, 3 * LEAD]


async def test_what_finds_no_slot_is_given_back_at_once() -> None:
    shift = Shift(2)
    shift.slots.put([nothing] * 2)
    await settle()
    jobs = [waiting(100) for _ in range(shift.slots.room)]
    shift.slots.put(jobs)
    await settle()
    assert shift.begun[2:] == jobs[:2]
    assert shift.returned == jobs[2:]
    assert shift.slots.room == 0
    await shift.slots.drain(0)


async def test_jobs_that_take_long_are_not_taken_ahead(clock: Clock) -> None:
    """They wait for nothing, but other workers could run them meanwhile."""
    shift = Shift(3)
    shift.slots.put([taking(clock, QUICK / 2)] * 3)
    await settle()
    assert shift.slots.room == 3


async def test_what_turns_out_to_take_long_is_given_back(clock: Clock) -> None:
    """But for a round, as if it had been known."""
    shift = Shift(3)
    shift.slots.put([nothing] * 3)
    await settle()
    jobs = [taking(clock, QUICK) for _ in range(shift.slots.room)]
    shift.slots.put(jobs)
    await settle()
    assert shift.begun[3:] == jobs[:4], "the one that showed it, and a round"
    assert shift.returned == jobs[4:]
    assert shift.slots.room == 3


async def test_closed_slots_begin_nothing() -> None:
    shift = Shift(2)
    first, second = waiting(), waiting()
    shift.slots.put([first])
    shift.slots.close()
    shift.slots.put([second])
    await settle()
    assert (shift.begun, shift.returned) == ([], [first, second])


async def test_the_jobs_behind_a_bug_are_run() -> None:
    """A handler that raises, which it must not, takes no other job with it."""

    async def bug() -> None:
        raise RuntimeError("a bug")

    shift = Shift(3)
    shift.slots.put([bug, nothing, nothing])
    await settle()
    assert len(shift.ended) == 3
    assert isinstance(shift.tasks[0].exception(), RuntimeError)


batches = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12), max_size=8)


@given(number=st.integers(1, 4), batches=batches, pauses=st.lists(st.integers(0, 4), min_size=8))
@sequences(150, steps=1)
def test_any_jobs(number: int, batches: list[list[int]], pauses: list[int]) -> None:
    """Each begins in its turn or is given back, no more run at once than there are slots."""

    async def work() -> None:
        shift = Shift(number)
        put: list[Job] = []
        for batch, pause in zip(batches, pauses, strict=False):
            jobs = [waiting(turns) for turns in batch][: shift.slots.room]
            shift.slots.put(jobs)
            put += jobs
            for _ in range(pause):
                await asyncio.sleep(0)
        await settle()
        assert shift.most <= number
        assert len(shift.ended) == len(shift.begun)
        assert shift.begun == [job for job in put if job in shift.begun]
        assert sorted(map(id, shift.begun + shift.returned)) == sorted(map(id, put))
        assert shift.slots.room >= number

    asyncio.run(work())
