"""Waiting for a condition, where its not coming true is a result and no error."""

import asyncio
import time
from collections.abc import Callable

RECOVERY_SECONDS = 60.0  # to get over a fault; much less is usual
SETTLE_SECONDS = 20.0  # for what is still under way when the load has ended
POLL = 0.01


class NotRecovered(Exception):
    """Something did not go on after a fault."""


async def comes_true(condition: Callable[[], object], within: float) -> bool:
    """Whether `condition` is true within so many seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL)
    return True
