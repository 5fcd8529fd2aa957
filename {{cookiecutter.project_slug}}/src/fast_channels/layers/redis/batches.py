"""Messages that leave together: what is sent to one topic in one turn of the event loop.

They share one command and one confirmation, which is most of what a message costs, to Redis as well.

Invariants
- The messages of a topic leave in the order of their sends. They are written in the next step of the
  loop if there is a connection with room for them, else by a task of their own.
- No task waits for a batch, unless its first attempt brings no reply or cannot be made: only that goes
  on in a task. Its time begins when it is its turn on the connection, not while the process is busy
  with others.
- At most ``MOST_TASKS`` wait in tasks for a connection, which keeps the loop free to make it; the
  others wait behind them.
- Each sender has a future of its own, which is settled once. A sender that is cancelled takes nothing
  from the others, and its message leaves all the same.
- A batch holds at most ``MOST_MESSAGES``, so that it fits a mailbox of the default capacity, and no
  more than ``MOST_BYTES`` and one message.
- At most ``MOST_WAITING`` messages, and ``MOST_WAITING_BYTES`` and one message, are not confirmed yet;
  a sender over that is refused at once, and its message is not sent.
"""

import asyncio
import copy
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from ...exceptions import ChannelLayerUnavailable
from ...tasks import cancel_and_wait
from .client.commands import Commands
from .client.connection import Command, Connection, Reply

MOST_MESSAGES = 50
MOST_BYTES = 64 * 1024
MOST_WAITING = 100_000  # what a process sends in some seconds
MOST_WAITING_BYTES = 64 * 1024 * 1024
MOST_TASKS = 1_000

Outcome = Exception | None
Request = tuple[Commands, Command]  # what brings a batch to its topic, and who executes it


class Batcher:
    """``request(topic, messages)`` makes the command of a batch. ``outcomes(topic, number, reply)`` says
    what its reply means to each of its messages, an exception for the sender or None; without it each
    message was accepted. For the others see ``Commands.complete``.
    """

    def __init__(
        self,
        request: Callable[[str, list[bytes]], Request],
        outcomes: Callable[[str, int, Reply], list[Outcome]] | None = None,
        *,
        repeatable: bool = True,
        replicated: bool = False,
    ) -> None:
        self._request = request
        self.outcomes = outcomes
        self.repeatable = repeatable
        self.replicated = replicated
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._late: deque[Batch] = deque()  # for whom there are too many tasks
        self._open: dict[str, Batch] = {}
        self._batches: list[Batch] = []  # the open ones, and those that are full
        self._waiting = 0  # messages that are not confirmed
        self._waiting_bytes = 0

    def send(self, topic: str, message: bytes) -> "asyncio.Future[None]":
        """To be awaited until the message is confirmed.

        ``ChannelLayerUnavailable`` at once if too many wait for that.
        """
        if self._waiting >= MOST_WAITING or self._waiting_bytes >= MOST_WAITING_BYTES:
            raise ChannelLayerUnavailable(
                f"Not sent, since {self._waiting} messages of {self._waiting_bytes} bytes wait for "
                f"Redis to confirm them; at most {MOST_WAITING} and {MOST_WAITING_BYTES} bytes may"
            )
        self._waiting += 1
        self._waiting_bytes += len(message)
        sender: asyncio.Future[None] = self._loop.create_future()
        batch = self._open.get(topic)
        if batch is None or len(batch.messages) >= MOST_MESSAGES or batch.size >= MOST_BYTES:
            if not self._batches:
                self._loop.call_soon(self._transmit)
            batch = self._open[topic] = Batch(self, topic)
            self._batches.append(batch)
        batch.messages.append(message)
        batch.senders.append(sender)
        batch.size += len(message)
        return sender

    def settled(self, batch: "Batch") -> None:
        self._waiting -= len(batch.senders)
        self._waiting_bytes -= batch.size

    def _transmit(self) -> None:
        batches, self._batches = self._batches, []
        self._open.clear()
        connections = set()
        for batch in batches:
            try:
                request = self._request(batch.topic, batch.messages)
                connections.add(batch.start(*request))
            except Exception as error:
                batch.failed(error)
        for connection in connections:
            if connection is not None:
                connection.write_pending()

    def attempt(self, batch: "Batch") -> None:
        """In a task, as soon as there are not too many."""
        if len(self._tasks) < MOST_TASKS:
            batch.go_on(None)
        else:
            self._late.append(batch)

    def run(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        while self._late and len(self._tasks) < MOST_TASKS:
            self._late.popleft().begin_late()

    async def aclose(self) -> None:
        """What is under way fails."""
        self.closed = True
        while self._late:
            self._late.popleft().begin_late()
        await cancel_and_wait(self._tasks)


@dataclass(eq=False, repr=False, slots=True)
class Batch:
    """To a connection it is the future of the reply to the first attempt."""

    _batcher: Batcher
    topic: str
    messages: list[bytes] = field(default_factory=list)
    senders: "list[asyncio.Future[None]]" = field(default_factory=list)
    size: int = 0
    _commands: Commands = field(init=False)
    _command: Command = field(init=False)
    _deadline: float = 0.0
    _answered: bool = False

    def start(self, commands: Commands, command: Command) -> Connection | None:
        """Returns the connection that has to write what is pending, if there is one.

        The timeout of ``commands`` is that of the wait for a connection, and again that of the wait for
        the reply, which begins when it is the batch's turn on the connection.
        """
        self._commands, self._command = commands, command
        self._deadline = self._from_now()
        connection = self._offer(self._deadline)
        if connection is None and not self._wait_for_room():
            self._batcher.attempt(self)
        return connection

    def begin_late(self) -> None:
        """It had to wait for others that have no connection either."""
        deadline = self._from_now()
        if self._batcher.closed:
            self._close()
        elif (connection := self._offer(deadline)) is not None:
            self._deadline = deadline
            connection.write_soon()
        elif self._wait_for_room():
            pass
        elif self._deadline <= deadline - self._commands.timeout:
            self.failed(self._commands.unavailable())
        else:
            self._batcher.attempt(self)

    def _in_turn(self) -> None:
        """There is room on the connection, or it is lost."""
        self._deadline = self._from_now()
        self.begin_late()

    def _offer(self, deadline: float) -> Connection | None:
        if self._batcher.replicated:
            return None
        return self._commands.offer(self._command, self, deadline)

    def _wait_for_room(self) -> bool:
        """False if there is no connection to have room."""
        connection = None if self._batcher.replicated else self._commands.connection
        if connection is not None:
            connection.when_room(self._in_turn)
        return connection is not None

    def _from_now(self) -> float:
        return asyncio.get_running_loop().time() + self._commands.timeout

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
        if self._batcher.closed:
            self._close()
        else:
            self._batcher.run(self._complete(after)).add_done_callback(self._ended)

    async def _complete(self, after: Exception | None) -> None:
        try:
            if after is None:
                await self._commands.turn(self._deadline)
                self._deadline = self._from_now()
            reply = await self._commands.complete(
                self._command,
                self._deadline,
                repeatable=self._batcher.repeatable,
                replicated=self._batcher.replicated,
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

    # Its senders

    def succeeded(self, reply: Reply) -> None:
        if (outcomes := self._batcher.outcomes) is not None:
            self._settle(outcomes(self.topic, len(self.senders), reply))
            return
        self._batcher.settled(self)
        for sender in self.senders:
            if not sender.done():  # it is if it was cancelled
                sender.set_result(None)

    def failed(self, error: Exception) -> None:
        """Each sender gets a copy of its own: raising an exception changes it."""
        self._settle([copy.copy(error) for _ in self.senders])

    def _settle(self, outcomes: list[Outcome]) -> None:
        self._batcher.settled(self)
        for sender, outcome in zip(self.senders, outcomes, strict=True):
            if sender.done():
                continue
            if outcome is None:
                sender.set_result(None)
            else:
                sender.set_exception(outcome)
