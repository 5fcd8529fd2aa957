"""A command and its reply, for who is called when it comes: no task waits for it.

Only what the first attempt does not bring is gone on with in a task, by ``Commands.complete``.

Invariant: after ``start`` either ``succeeded`` or ``failed`` is called, once.
"""

import abc
import asyncio
from collections.abc import Coroutine
from typing import Any

from ...exceptions import ChannelLayerUnavailable
from ...utils import cancel_and_wait
from .link import Command, Link, Reply
from .topology import Commands


class Exchanges:
    """What the exchanges of one owner share; for the arguments see ``PersistentLink.complete``."""

    def __init__(self, *, repeatable: bool = True, replicated: bool = False) -> None:
        self.repeatable = repeatable
        self.replicated = replicated
        self.closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """In a task that ends with the owner."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """Those that are under way fail."""
        self.closed = True
        await cancel_and_wait(self._tasks)


class Exchange(abc.ABC):
    """To a link it is the future of the reply to the first attempt."""

    __slots__ = ("_answered", "_exchanges", "_request")

    _request: tuple[Commands, Command, float]

    def __init__(self, exchanges: Exchanges) -> None:
        self._exchanges = exchanges
        self._answered = False

    @abc.abstractmethod
    def succeeded(self, reply: Reply) -> None: ...

    @abc.abstractmethod
    def failed(self, error: Exception) -> None:
        """By ``ChannelLayerUnavailable``, or by a bug."""

    def start(self, commands: Commands, command: Command, deadline: float) -> Link | None:
        """Returns the link that has to be flushed, if there is one."""
        self._request = commands, command, deadline
        link = None
        if not self._exchanges.replicated:
            link = commands.enlist(command, self, deadline)
        if link is None:
            self._go_on(None)
        return link

    def done(self) -> bool:
        return self._answered

    def set_result(self, reply: Reply) -> None:
        self._answered = True
        self.succeeded(reply)

    def set_exception(self, error: Exception) -> None:
        self._answered = True
        self._go_on(error)

    def _go_on(self, after: Exception | None) -> None:
        if self._exchanges.closed:
            self._close()
        else:
            self._exchanges.run(self._complete(after)).add_done_callback(self._ended)

    async def _complete(self, after: Exception | None) -> None:
        commands, command, deadline = self._request
        try:
            reply = await commands.complete(
                command,
                deadline,
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
