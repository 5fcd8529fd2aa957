"""One run of an ASGI application, with the server's side in the hands of a test."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Self

from ..consumer.handlers import strict
from ..type_defs import Application, Event, Scope, as_application
from .server_rules import UnexpectedEvent

STOP_SECONDS = 5.0  # for the clean-up of a cancelled application


class ApplicationCommunicator:
    """Feeds events to an application and collects those that it sends.

    The application starts with the first call that needs it, in the event loop of that call. What
    it has sent is handed out in order; after the last of it, its exception is raised to the test by
    whichever method is called next. An event that a server would refuse is an `UnexpectedEvent`, in
    the application and in the test. All times are seconds.

    Semantics as documented for Django Channels 4 (topics/testing), with these differences: a
    timeout of `receive_output` leaves the application running, and `async with` stops it at the end.
    """

    def __init__(self, application: Application, scope: Scope) -> None:
        self.application = as_application(application)
        self.scope = scope
        self._input: asyncio.Queue[Event] = asyncio.Queue()
        self._output: deque[Event] = deque()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._refused: UnexpectedEvent | None = None  # the application may have caught it
        self._error_seen = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: object, failure: BaseException | None, traceback: object
    ) -> None:
        await self.stop(exceptions=False)
        if failure is None:
            self._raise_unseen_error()
        elif not self._error_seen and (error := self._error()) is not None:
            failure.add_note(f"{self._name()} failed as well: {error!r}")

    async def send_input(self, message: Event) -> None:
        """Give the application one event; what it has not asked for yet, waits.

        An application that has failed raises its exception here; one that has returned does not
        hear the event, as with a real server.
        """
        self._start()
        if self._is_done():
            self._raise_error()
        self._raise_unseen_error()
        self._input.put_nowait(message)

    async def receive_output(self, timeout: float = 1) -> Event:
        """The next event that the application sends.

        Raises `TimeoutError` if there is none in time, or the application has returned.
        """
        return await self._next_output(timeout, "an event")

    async def receive_nothing(self, timeout: float = 0.1, interval: float = 0.01) -> bool:
        """Whether the application sends nothing for `timeout` seconds; what it sends is kept.

        `interval` is there for code that comes from Django Channels; nothing is polled here.
        """
        return await self._peek(timeout) is None

    async def wait(self, timeout: float = 1) -> None:
        """Wait for the application to return, and raise its exception if it failed.

        If it is late it is cancelled, and `TimeoutError` raised.
        """
        await self._until_done(timeout)
        self._raise_error()

    async def stop(self, exceptions: bool = True) -> None:
        """Cancel the application if it runs, and wait for its end.

        `exceptions` says whether to raise the exception with which it has ended, if none was raised yet.
        """
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task], timeout=STOP_SECONDS)
        if not self._task.done():
            raise TimeoutError(f"{self._name()} runs on {STOP_SECONDS:g} s after its cancellation")
        if exceptions:
            self._raise_unseen_error()

    # For subclasses

    async def _next_output(self, timeout: float, what: str) -> Event:
        if await self._peek(timeout) is None:
            if self._is_done():
                raise TimeoutError(f"waited for {what} from {self._name()}, which has returned")
            raise TimeoutError(f"waited {timeout:g} s for {what} from {self._name()}")
        return self._output.popleft()

    async def _peek(self, timeout: float) -> Event | None:
        """The next event, which stays; None if there is none in time. Behind the last, the exception."""
        await self._until(lambda: bool(self._output or self._refused or self._is_done()), timeout)
        if self._output:
            return self._output[0]
        self._raise_error()
        return None

    async def _until_done(self, timeout: float) -> None:
        if not await self._until(self._is_done, timeout):
            await self.stop(exceptions=False)
            late = TimeoutError(f"waited {timeout:g} s for {self._name()} to return")
            raise late from self._error()

    def _sent(self, event: Event) -> None:
        """The application sends `event`; a server's reaction to it belongs here."""
        self._output.append(event)
        self._changed.set()

    async def _until(self, condition: Callable[[], bool], timeout: float) -> bool:
        self._start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        return condition()

    def _is_done(self) -> bool:
        return self._task is not None and self._task.done()

    def _raise_error(self) -> None:
        if (error := self._error()) is not None:
            self._error_seen = True
            raise error

    def _raise_unseen_error(self) -> None:
        if not self._error_seen:
            self._raise_error()

    async def _raise_late_error(self, timeout: float) -> None:
        """Its last event is there; it may still fail."""
        await self._until(self._is_done, timeout)
        self._raise_unseen_error()

    # Internals

    def _error(self) -> BaseException | None:
        if self._refused is not None or self._task is None or not self._task.done():
            return self._refused
        return None if self._task.cancelled() else self._task.exception()

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"communicator of {self._name()}")
            self._task.add_done_callback(self._ended)

    async def _run(self) -> None:
        strict.set(True)
        await self.application(self.scope, self._input.get, self._send)

    async def _send(self, event: Event) -> None:
        try:
            self._sent(event)
        except UnexpectedEvent as refused:
            self._refused = self._refused or refused
            self._changed.set()
            raise

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._changed.set()
        if self._refused is not None and not task.cancelled():
            task.exception()  # the test has been told of it: asyncio need not

    def _name(self) -> str:
        return f"the application at {self.scope.get('path', self.scope.get('type'))}"
