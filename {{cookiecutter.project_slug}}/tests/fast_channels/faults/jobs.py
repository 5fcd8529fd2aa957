"""The case `worker`: jobs come all the time, and in each round a worker is killed amid some of them.

A round ends when other workers have done what the killed one held.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from fast_channels.layers import BaseChannelLayer, RedisChannelLayer
from fast_channels.layers.redis.format import Topics

from ..support.redis_servers import RedisServer
from .employee import Employee
from .report import Result
from .tally import Sent
from .waiting import RECOVERY_SECONDS, SETTLE_SECONDS, NotRecovered, comes_true
from .worker import CHANNEL

PREFIX = "faults"
WORKERS = 3
LEASE_SECONDS = 2.0
JOB_SECONDS = 0.3
JOBS_PER_SECOND = 20.0  # of the 50 that the workers could do


class Business:
    """Employees, and the jobs that they were given."""

    def __init__(self, folder: Path, url: str) -> None:
        arguments = (url, PREFIX, str(LEASE_SECONDS))
        self.employees = [Employee(folder / f"worker-{n}.log", *arguments) for n in range(WORKERS)]
        self.sent = Sent()

    @property
    def done(self) -> Counter[int]:
        """How often each job has been done."""
        for employee in self.employees:
            employee.look()
        return sum((employee.done for employee in self.employees), Counter())

    def undone(self) -> set[int]:
        return set(range(1, self.sent.last + 1)) - self.done.keys()

    async def give_jobs(self, layer: BaseChannelLayer) -> None:
        for number in count(1):
            await layer.send(CHANNEL, {"type": "job", "number": number, "seconds": JOB_SECONDS})
            self.sent.last = number
            await asyncio.sleep(1 / JOBS_PER_SECOND)

    async def lose(self, employee: Employee) -> float:
        """Kill it amid a job; how long it took until all that it held was done."""
        held: set[int] = set()
        while not held:  # it may have ended its jobs between our look and its death
            await self._expect(employee.is_busy, "it to start a job")
            killed = time.monotonic()
            held = employee.kill()
        await self._expect(lambda: held <= self.done.keys(), f"the jobs {held} to be done")
        return time.monotonic() - killed

    async def _expect(self, condition: Callable[[], object], what: str) -> None:
        if not await comes_true(condition, RECOVERY_SECONDS):
            logs = "".join(employee.process.last_words for employee in self.employees)
            raise NotRecovered(f"waited {RECOVERY_SECONDS:g} s for {what}\n{logs}")


async def run(rounds: int) -> Result:
    """Kill one worker after another, `rounds` times. Raises `NotRecovered`."""
    result = Result("worker", "queue", frozenset({"doubled"}))  # at least once
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="faults-")))
        server = stack.enter_context(RedisServer())
        business = Business(folder, server.url)
        for employee in business.employees:
            stack.enter_context(employee.process)
        async with RedisChannelLayer([server.url], PREFIX, capacity=10_000) as layer:
            giving = asyncio.create_task(business.give_jobs(layer))
            try:
                for n in range(rounds):
                    result.recovery.append(await business.lose(business.employees[n % WORKERS]))
                    print(f"worker queue {n + 1}: {result.recovery[-1]:.2f} s", file=sys.stderr)
            finally:
                giving.cancel()
                with suppress(asyncio.CancelledError):
                    await giving  # raises what ended it, if anything did
        await comes_true(lambda: not business.undone(), SETTLE_SECONDS)
        result.sent, result.accepted = business.sent.last, business.sent.accepted
        result.lost = len(business.undone())
        result.doubled = business.done.total() - len(business.done)
        result.errors = sum(employee.process.errors for employee in business.employees)
        result.dead = server.execute("XLEN", Topics(PREFIX).dead_letters(CHANNEL))
    return result
