"""The end of tasks and of event loops. Knows no module of this package."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any

logger = logging.getLogger(__name__)


def is_cancelled() -> bool:
    """Whether somebody cancelled the running task itself, not only what it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def cancel_and_wait(
    tasks: Iterable[asyncio.Task[Any]], timeout: float = 5.0, *, again: float = 1.0
) -> set[asyncio.Task[Any]]:
    """Cancel tasks and wait for their end, at most `timeout` seconds; returns those that go on.

    A task that is not at its end after `again` seconds is cancelled once more, and so on: code below
    it may have swallowed the cancellation, as `asyncio.wait_for` of Python 3.11 does. So `again` is
    also the time that a task has for what it does upon its cancellation. What goes on in the end is
    named in a warning. The task that calls this is left out, and exceptions of the others are dropped.
    """
    loop = asyncio.get_running_loop()
    running = set(tasks) - {asyncio.current_task()}
    deadline = loop.time() + timeout
    while running:
        for task in running:
            task.cancel()
        if (left := deadline - loop.time()) <= 0:
            names = ", ".join(sorted(task.get_name() for task in running))
            logger.warning("%d task(s) ignore their cancellation: %.500s", len(running), names)
            break
        ended, running = await asyncio.wait(running, timeout=min(again, left))
        for task in ended:
            if not task.cancelled():
                task.exception()  # what was looked at is not reported as forgotten
    return running


def at_loop_end(close: Callable[[], Awaitable[None]]) -> AsyncGenerator[None, None]:
    """Have `close` awaited when the running loop ends, or by the `aclose()` of what is returned.

    The loop does so with its asynchronous generators, after it has cancelled its tasks: at the end of
    `asyncio.run`, `asyncio.Runner`, `async_to_sync`, pytest-asyncio and anyio. A bare `loop.close()`
    does not: its caller has to call `loop.shutdown_asyncgens()` before.
    """

    async def wait() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await close()

    end = wait()
    with contextlib.suppress(StopIteration):  # the first step registers it with the loop
        end.asend(None).send(None)
    return end
