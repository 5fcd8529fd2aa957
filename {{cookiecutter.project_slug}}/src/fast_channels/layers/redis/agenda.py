"""What a task puts off until a time, and what it sleeps for. Knows nothing of the work.

Invariant: a sleep ends when there is news, and when what is due first is due; nothing is done but in
``do_due``, a bounded part of it at once.
"""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable


class Agenda:
    def __init__(self) -> None:
        self._later: list[tuple[float, int, Callable[[], None]]] = []  # a heap, by time
        self._numbers = itertools.count()
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._later)

    def wake(self) -> None:
        """There is news."""
        self._news.set()

    def later(self, delay: float, work: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + delay, next(self._numbers), work))

    def do_due(self, most: int) -> None:
        now = time.monotonic()
        for _ in range(most):
            if not self._later or self._later[0][0] > now:
                return
            heapq.heappop(self._later)[2]()

    async def sleep(self) -> None:
        """Not at all if nothing was put off."""
        self._news.clear()
        if self._later:
            delay = self._later[0][0] - time.monotonic()
            try:
                async with asyncio.timeout(max(delay, 0.001)):
                    await self._news.wait()
            except TimeoutError:
                pass
