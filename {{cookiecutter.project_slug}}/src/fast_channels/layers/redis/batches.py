"""Messages that leave together: what is sent to one topic in one turn of the event loop.

They share one command and one confirmation, which is most of what a message costs, to Redis as well.

Invariants
- The messages of a topic leave in the order of their sends. They are written in the next step of the
  loop if there is a connection with room for them.
- No task waits for a batch, unless there is no connection or its first attempt brings no reply. Its time
  begins when it is its turn on the connection, not while the process is busy with others.
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
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from ...exceptions import ChannelLayerUnavailable
from ...tasks import cancel_and_wait
from .client.commands import Command, Commands, Connection, Reply

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
        self.loop = asyncio.get_running_loop()
        self._tasks: dict[asyncio.Task[None], Batch] = {}
        self._late: deque[Batch] = deque()  # for which there are too many tasks
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
        sender: asyncio.Future[None] = self.loop.create_future()
        batch = self._open.get(topic)
        if batch is None or len(batch.messages) >= MOST_MESSAGES or batch.size >= MOST_BYTES:
            if not self._batches:
                self.loop.call_soon(self._transmit)
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
                batch.commands, batch.command = self._request(batch.topic, batch.messages)
                connections.add(batch.begin())
            except Exception as error:
                batch.failed(error)
        for connection in connections:
            if connection is not None:
                connection.write_pending()

    def go_on(self, batch: "Batch", after: Exception | None) -> None:
        """In a task, as soon as there are not too many; ``after`` is how its first attempt ended."""
        if self.closed:
            batch.failed(_closed())
        elif after is None and len(self._tasks) >= MOST_TASKS:
            self._late.append(batch)
        else:
            task = self.loop.create_task(batch.go_on(after))
            self._tasks[task] = batch
            task.add_done_callback(self._end)

    def _end(self, task: "asyncio.Task[None]") -> None:
        batch = self._tasks.pop(task)
        if task.cancelled():  # perhaps before it began
            batch.failed(_closed())
        while self._late and len(self._tasks) < MOST_TASKS:
            self._late.popleft().begin_later()

    async def aclose(self) -> None:
        """What is under way fails."""
        self.closed = True
        while self._late:
            self._late.popleft().failed(_closed())
        await cancel_and_wait(self._tasks)


def _closed() -> ChannelLayerUnavailable:
    return ChannelLayerUnavailable("The layer was closed")


@dataclass(eq=False, repr=False, slots=True)
class Batch:
    """To a connection it is the future of the reply to the first attempt."""

    _batcher: Batcher
    topic: str
    messages: list[bytes] = field(default_factory=list)
    senders: "list[asyncio.Future[None]]" = field(default_factory=list)
    size: int = 0
    commands: Commands = field(init=False)
    command: Command = field(init=False)
    _deadline: float = 0.0  # for a connection, then for the reply
    _answered: bool = False

    def begin(self) -> Connection | None:
        """Returns the connection that has to write what is pending, if there is one."""
        commands = self.commands
        connection = None if self._batcher.replicated else commands.connection
        if connection is None:
            self._wait()
            return None
        command = commands.adapted(self.command)
        if connection.has_room:
            self._deadline = self._batcher.loop.time() + commands.timeout
            connection.send(command, self, self._deadline)
            return connection
        connection.when_room(partial(self._in_turn, connection, command), self)
        return None

    def begin_later(self) -> None:
        """Not in the turn of the loop in which its messages were sent."""
        if (connection := self.begin()) is not None:
            connection.write_soon()

    def _wait(self) -> None:
        self._deadline = self._deadline or self._from_now()
        if self._deadline < self._batcher.loop.time():
            self.failed(self.commands.unavailable())
        else:
            self._batcher.go_on(self, None)

    def _in_turn(self, connection: Connection, command: Command) -> None:
        if connection.lost:
            self._deadline = 0.0
            self.begin_later()
        else:
            self._deadline = self._from_now()
            connection.send(command, self, self._deadline)

    def _from_now(self) -> float:
        return self._batcher.loop.time() + self.commands.timeout

    # The future of the reply

    def done(self) -> bool:
        return self._answered

    def set_result(self, reply: Reply) -> None:
        self._answered = True
        number, outcomes = len(self.senders), self._batcher.outcomes
        self._settle(outcomes(self.topic, number, reply) if outcomes else [None] * number)

    def set_exception(self, error: Exception) -> None:
        self._answered = True
        self._batcher.go_on(self, error)

    async def go_on(self, after: Exception | None) -> None:
        """Wait for a connection, or for the reply ``after`` an attempt that brought none."""
        try:
            if after is None:
                await self.commands.connected(self._deadline)
                if not self._batcher.replicated:
                    self.begin_later()
                    return
                self._deadline = self._from_now()
            reply = await self.commands.complete(
                self.command,
                self._deadline,
                repeatable=self._batcher.repeatable,
                replicated=self._batcher.replicated,
                after=after,
            )
        except Exception as error:
            self.failed(error)
        else:
            self.set_result(reply)

    # Its senders

    def failed(self, error: Exception) -> None:
        """Each sender gets a copy of its own: raising an exception changes it."""
        self._settle([copy.copy(error) for _ in self.senders])

    def _settle(self, outcomes: list[Outcome]) -> None:
        self._batcher.settled(self)
        for sender, outcome in zip(self.senders, outcomes, strict=True):
            if sender.done():
                continue  # it was cancelled
            if outcome is None:
                sender.set_result(None)
            else:
                sender.set_exception(outcome)
