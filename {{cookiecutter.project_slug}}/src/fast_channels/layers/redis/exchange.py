"""A command and its reply, for who is called when it comes: no task waits for it.

Only what the first attempt does not bring, or cannot be made for, is gone on with in a task, by
``Commands.complete``.

Invariants
- After ``start`` either ``succeeded`` or ``failed`` is called, once.
- Its time begins when it is its turn on the connection, not while the process is busy with others.
- At most ``MOST_TASKS`` wait in tasks for a connection, which keeps the loop free to make it; the
  others wait behind them.
"""

import abc
import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any

from ...exceptions import ChannelLayerUnavailable
from ...tasks import cancel_and_wait
from .link import Command, Link, Reply
from .topology import Commands

MOST_TASKS = 1_000


class Exchanges:
    """What the exchanges of one owner share; for the arguments see ``PersistentLink.complete``."""

    def __init__(self, *, repeatable: bool = True, replicated: bool = False) -> None:
        self.repeatable = repeatable
        self.replicated = replicated
        self.closed = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: deque[Exchange] = deque()

    def run(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """In a task that ends with the owner."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    def attempt(self, exchange: "Exchange") -> None:
        """Begin it in a task, as soon as there are not too many."""
        if len(self._tasks) < MOST_TASKS:
            exchange.go_on(None)
        else:
            self._waiting.append(exchange)

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        while self._waiting and len(self._tasks) < MOST_TASKS:
            self._waiting.popleft().begin_late()

    async def aclose(self) -> None:
        """Those that are under way fail."""
        self.closed = True
        while self._waiting:
            self._waiting.popleft().begin_late()
        await cancel_and_wait(self._tasks)


class Exchange(abc.ABC):
    """To a link it is the future of the reply to the first attempt."""

    __slots__ = ("_answered", "_deadline", "_exchanges", "_request", "_timeout")

    _request: tuple[Commands, Command]

    def __init__(self, exchanges: Exchanges) -> None:
        self._exchanges = exchanges
        self._answered = False
        self._timeout = self._deadline = 0.0

    @abc.abstractmethod
    def succeeded(self, reply: Reply) -> None: ...

    @abc.abstractmethod
    def failed(self, error: Exception) -> None:
        """By ``ChannelLayerUnavailable``, or by a bug."""

    def start(self, commands: Commands, command: Command, *, timeout: float) -> Link | None:
        """Returns the link that has to be flushed, if there is one.

        The ``timeout``, in seconds, is that of the wait for a connection, and again that of the wait for
        the reply, which begins when it is the command's turn on the connection.
        """
        self._request = commands, command
        self._timeout = timeout
        self._deadline = self._from_now()
        link = self._enlist()
        if link is None and not self._wait_for_room():
            self._exchanges.attempt(self)
        return link

    def begin_late(self) -> None:
        """It had to wait for others that have no connection either."""
        commands, _ = self._request
        if self._exchanges.closed:
            self._close()
        elif (link := self._enlist()) is not None:
            link.flush_soon()
        elif self._wait_for_room():
            pass
        elif self._deadline <= self._from_now() - self._timeout:
            self.failed(commands.unavailable())
        else:
            self._exchanges.attempt(self)

    def _in_turn(self) -> None:
        """There is room on the connection, or it is lost."""
        self._deadline = self._from_now()
        self.begin_late()

    def _enlist(self) -> Link | None:
        if self._exchanges.replicated:
            return None
        commands, command = self._request
        deadline = self._from_now()
        if (link := commands.enlist(command, self, deadline)) is not None:
            self._deadline = deadline
        return link

    def _wait_for_room(self) -> bool:
        """False if there is no connection to have room."""
        if self._exchanges.replicated or (link := self._request[0].link) is None:
            return False
        link.when_room(self._in_turn)
        return True

    def _from_now(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout

    def done(self) -> bool:
        return self._answered

    def set_result(self, reply: Reply) -> None:
        self._answered = True
        self.succeeded(reply)

    def set_exception(self, error: Exception) -> None:
        self._answered = True
        self.go_on(error)

    def go_on(self, after: Exception | None) -> None:
        """In a task; ``after`` is how the first attempt ended."""
        if self._exchanges.closed:
            self._close()
        else:
            self._exchanges.run(self._complete(after)).add_done_callback(self._ended)

    async def _complete(self, after: Exception | None) -> None:
        commands, command = self._request
        try:
            if after is None:
                await commands.turn(self._deadline)
                self._deadline = self._from_now()
            reply = await commands.complete(
                command,
                self._deadline,
                repeatable=self._exchanges.repeatable,
                replicated=self._exchanges.replicated,
                after=after,
            )
        except Exception as error:
            self.failed(error)
        else:
            self.succeeded(reply)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled():  # perhaps before it began
            self._close()

    def _close(self) -> None:
        self.failed(ChannelLayerUnavailable("The layer was closed"))
