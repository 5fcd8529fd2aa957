"""Small helpers: an application from what a user passes, sources into one handler, the end of tasks,
domains.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar, cast

from .type_defs import Application, ASGIApplication, SupportsAsgi

logger = logging.getLogger(__name__)

MessageT = TypeVar("MessageT")


def as_application(application: Application) -> ASGIApplication:
    """An ASGI application as it is; a consumer class, by its `as_asgi()`. Others: `TypeError`."""
    if isinstance(application, type) and hasattr(application, "as_asgi"):
        return cast(SupportsAsgi, application).as_asgi()
    if isinstance(application, type) or not callable(application):
        raise TypeError(f"expected an ASGI application or a consumer class, not {application!r}")
    return application


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
    calls = {_call(source): source for source in consumer_callables}
    drop = False
    try:
        while calls:
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            for call in sorted(filter(_is_done, calls), key=_has_failed):
                source = calls.pop(call)
                message = call.result()
                try:
                    await dispatch(message)
                except Exception:
                    drop = True
                    raise
                calls[_call(source)] = source
    finally:
        for call in calls:
            call.cancel()
        if calls:
            await asyncio.wait(calls)
        for call in calls:
            if not _has_failed(call) and not drop:
                await dispatch(call.result())


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
            _has_failed(task)  # an exception that was looked at is not reported as forgotten
    return running


def is_cancelled() -> bool:
    """Whether somebody cancelled the running task itself, not only what it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def is_same_domain(host: str, pattern: str) -> bool:
    """Whether `host` is the domain `pattern`, or with a leading dot, it or one of its subdomains.

    Case does not matter. An empty pattern matches nothing. The semantics are those of the function
    of that name in Django.
    """
    host, pattern = host.lower(), pattern.lower()
    if not pattern.strip("."):
        return False
    if pattern.startswith("."):
        return host == pattern[1:] or host.endswith(pattern)
    return host == pattern


def _call(source: Callable[[], Awaitable[MessageT]]) -> asyncio.Future[MessageT]:
    return asyncio.ensure_future(source())


def _is_done(call: asyncio.Future[Any]) -> bool:
    return call.done()


def _has_failed(call: asyncio.Future[Any]) -> bool:
    return call.cancelled() or call.exception() is not None
