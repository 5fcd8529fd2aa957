"""Two public helpers, under the names that Django Channels and Django give them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

MessageT = TypeVar("MessageT")


async def await_many_dispatch(
    consumer_callables: Iterable[Callable[[], Awaitable[MessageT]]],
    dispatch: Callable[[MessageT], Awaitable[Any]],
) -> None:
    """Pass each message of several sources to `dispatch`, one at a time, until something raises.

    A source is a callable that returns its next message, such as an ASGI `receive`; its messages
    keep their order. No source has two calls at a time, and no call is left running at the end:

    - an exception of `dispatch` is raised, and what other sources have given already is dropped;
    - an exception of a source is raised after what other sources have given is dispatched;
    - a cancellation likewise: at most one message of each source is dispatched before it takes
      effect, so that none is lost. A second cancellation takes effect at once.
    """
    calls = {asyncio.ensure_future(source()): source for source in consumer_callables}
    drop = False
    try:
        while calls:
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            for call in sorted((call for call in calls if call.done()), key=_has_failed):
                source = calls.pop(call)
                message = call.result()
                try:
                    await dispatch(message)
                except Exception:
                    drop = True
                    raise
                calls[asyncio.ensure_future(source())] = source
    finally:
        for call in calls:
            call.cancel()
        if calls:
            await asyncio.wait(calls)
        for call in calls:
            if not _has_failed(call) and not drop:
                await dispatch(call.result())


def _has_failed(call: asyncio.Future[Any]) -> bool:
    return call.cancelled() or call.exception() is not None


def is_same_domain(host: str, pattern: str) -> bool:
    """Whether `host` is the domain `pattern`, or with a leading dot, it or one of its subdomains.

    Case does not matter, and an empty pattern matches nothing, as in Django's function of that name.
    """
    host, pattern = host.lower(), pattern.lower()
    if not pattern.strip("."):
        return False
    return host == pattern.removeprefix(".") or (pattern[0] == "." and host.endswith(pattern))
