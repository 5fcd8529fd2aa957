"""Waiting for a condition with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

import redis

T = TypeVar("T")

NOT_YET = (redis.RedisError, OSError)


def wait_until(
    condition: Callable[[], T],
    *,
    what: str,
    timeout: float = 20.0,
    interval: float = 0.02,
) -> T:
    """The first true value of `condition`, which is asked every `interval` seconds.

    An answer that a server cannot give yet (any Redis or socket error) counts as "not yet".
    After `timeout` seconds it raises `TimeoutError`, which says `what` was waited for and the last
    error or value.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            seen: object = condition()
        except NOT_YET as error:
            seen = error
        else:
            if seen:
                return seen  # type: ignore[return-value]
        if time.monotonic() >= deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}; last seen: {seen!r}")
        time.sleep(interval)
