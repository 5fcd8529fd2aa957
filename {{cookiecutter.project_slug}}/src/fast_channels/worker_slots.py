"""The slots of a worker: how its jobs become tasks, and how many it may take.

A task and a share in a round trip are most of what a job costs that waits for nothing. So after a full
round of such jobs more are put than there are slots, and they follow each other in one task. The first
that waits ends this: it keeps the task, and those behind it get tasks of their own.

Invariants
- Jobs begin in the order in which they are put, and at most ``number`` run at once.
- A job that has waited shares its task with no later one; and what it leaves behind in the task, a
  context variable or a cancellation, no other job sees.
- A round of jobs that takes longer than ``QUICK`` counts as if they waited.
- No job is kept waiting for a slot: one that finds all taken goes to ``give_back`` at once, and so do
  those beyond the free slots when ``QUICK`` is over.
"""

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Generic, TypeVar, cast

LEAD = 5  # rounds of jobs that wait for nothing are put at once
QUICK = (
    0.01  # seconds; so long the loop may do without other tasks, and other workers without the jobs
)

Job = TypeVar("Job")


class Slots(Generic[Job]):
    """``handle(job)`` runs a job; it raises nothing but the cancellation of its task."""

    def __init__(
        self,
        number: int,
        handle: Callable[[Job], Coroutine[Any, Any, None]],
        give_back: Callable[[list[Job]], object],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._number = number
        self._handle = handle
        self._give_back = give_back
        self._ready: deque[Job] = deque()
        self.running = 0  # jobs
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = 0
        self._full_round = False  # as many jobs as there are slots were put, or more
        self._quick = False  # and none of them waited, nor all together took long
        self._late = False
        self._closed = False

    @property
    def room(self) -> int:
        """How many jobs may be put.

        As many as find a slot if each of them waits; or ``LEAD`` times as many as there are slots,
        after a full round of jobs of which none did, nor took long. A single slot keeps the order of
        the jobs, so no more than one is put: what is given back might be overtaken.
        """
        taken = self.running + len(self._ready)
        if self._quick and not taken and self._number > 1:
            return LEAD * self._number
        return max(self._number - taken, 0)

    def put(self, jobs: Iterable[Job]) -> None:
        """Run the jobs; only while there is ``room``."""
        self._ready.extend(jobs)
        self._full_round = len(self._ready) >= self._number
        self._late = False
        if self._closed:
            self._return_ready()
        else:
            self._begin(1 if self._quick else self._number - self.running)

    def close(self) -> None:
        """Begin nothing more."""
        self._closed = True
        self._return_ready()

    async def drain(self, timeout: float) -> None:
        """Wait ``timeout`` seconds for what runs, then cancel it."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, most: int) -> None:
        if not self._ready:
            return
        for _ in range(min(most, len(self._ready))):
            self._tasks.add(self._loop.create_task(self._run()))
        self._loop.call_soon(self._look)  # after the first step of each

    async def _run(self) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        turn = self._turns
        context = contextvars.copy_context()
        late_at = time.monotonic() + QUICK
        try:
            while self._ready:
                job = self._ready.popleft()
                self.running += 1
                try:
                    await self._handle(job)
                finally:
                    self.running -= 1
                has_waited = turn != self._turns
                if has_waited or task.cancelling() or contextvars.copy_context() != context:
                    break
                if time.monotonic() >= late_at:
                    self._late = True
                    break
        finally:
            self._tasks.discard(task)

    def _look(self) -> None:
        """Each job that runs now waits for something."""
        self._turns += 1
        self._quick = self._full_round and not (self.running or self._ready or self._late)
        free = self._number - self.running
        if self._late or not free:
            self._return_ready(but=free)
        self._begin(free)

    def _return_ready(self, but: int = 0) -> None:
        """All but so many, which are the first ones."""
        jobs = list(self._ready)[but:]
        if jobs:
            for _ in jobs:
                self._ready.pop()
            self._give_back(jobs)
