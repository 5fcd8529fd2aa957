"""Messages that leave together: what is sent to one topic in one turn of the event loop.

They share one command and one confirmation, which is most of what a message costs, to Redis as well:
the busier a room is, the more of its messages a turn of the loop brings.

Invariants
- The messages of a topic leave in the order of their sends. They are written in the next step of the
  loop if there is a connection with room for them, else by a task of their own.
- Each sender has a future of its own, which is settled once. A sender that is cancelled takes nothing
  from the others, and its message leaves all the same.
- A batch holds at most ``MOST_MESSAGES``, so that it fits a mailbox of the default capacity, and no
  more than ``MOST_BYTES`` and one message.
"""

import asyncio
import copy
from collections.abc import Callable

from ...exceptions import ChannelLayerUnavailable
from .link import Command, Link, Reply
from .topology import Commands

MOST_MESSAGES = 50
MOST_BYTES = 64 * 1024

Outcome = Exception | None
Request = tuple[Commands, Command]


class Outbox:
    """``request(topic, messages)`` makes the command that brings a batch to its topic, and says who
    executes it. ``outcomes(topic, number, reply)`` says what the reply means to each of the messages:
    an exception is raised to the sender. ``repeatable`` and ``replicated``: see ``Commands``.
    """

    def __init__(
        self,
        timeout: float,
        request: Callable[[str, list[bytes]], Request],
        outcomes: Callable[[str, int, Reply], list[Outcome]] | None = None,
        *,
        repeatable: bool = True,
        replicated: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._request = request
        self._outcomes = outcomes
        self._repeatable = repeatable
        self._replicated = replicated
        self._open: dict[str, Batch] = {}
        self._batches: list[Batch] = []  # the open ones, and those that are full
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def send(self, topic: str, message: bytes) -> "asyncio.Future[None]":
        """To be awaited until the message is confirmed."""
        sender: asyncio.Future[None] = self._loop.create_future()
        batch = self._open.get(topic)
        if batch is not None and len(batch.messages) < MOST_MESSAGES and batch.size < MOST_BYTES:
            batch.messages.append(message)
            batch.senders.append(sender)
            batch.size += len(message)
            return sender
        if not self._batches:
            self._loop.call_soon(self._transmit)
        batch = self._open[topic] = Batch(self, topic, message, sender)
        self._batches.append(batch)
        return sender

    def _transmit(self) -> None:
        batches, self._batches = self._batches, []
        self._open.clear()
        deadline = self._loop.time() + self._timeout
        links = set()
        for batch in batches:
            batch.deadline = deadline
            try:
                link = self._start(batch)
            except Exception as error:
                batch.fail(error)
            else:
                if link is None:
                    self.persist(batch)
                else:
                    links.add(link)
        for link in links:
            link.flush()

    def _start(self, batch: "Batch") -> Link | None:
        """The link that has to be flushed; None if there was none."""
        batch.request = commands, command = self._request(batch.topic, batch.messages)
        return None if self._replicated else commands.enlist(command, batch, batch.deadline)

    def persist(self, batch: "Batch", after: Exception | None = None) -> None:
        """Transmit in a task, which may take several attempts; ``after`` is how the first one ended."""
        task = self._loop.create_task(self._persist(batch, after))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _persist(self, batch: "Batch", after: Exception | None) -> None:
        commands, command = batch.request
        try:
            if self._closed:
                raise asyncio.CancelledError
            reply = await commands.complete(
                command,
                batch.deadline,
                repeatable=self._repeatable,
                replicated=self._replicated,
                after=after,
            )
        except asyncio.CancelledError:
            batch.fail(ChannelLayerUnavailable("The layer was closed"))
            raise
        except Exception as error:
            batch.fail(error)
        else:
            self.settle(batch, reply)

    def settle(self, batch: "Batch", reply: Reply) -> None:
        """The batch has reached its topic."""
        if self._outcomes is not None:
            batch.settle(self._outcomes(batch.topic, len(batch.senders), reply))
            return
        for sender in batch.senders:
            if not sender.done():  # it is if it was cancelled
                sender.set_result(None)

    def close(self) -> None:
        """What has not been confirmed by now raises ``ChannelLayerUnavailable`` to its sender."""
        self._closed = True
        for task in self._tasks:
            task.cancel()


class Batch:
    """A link takes it for the future of a reply: the one to the first attempt."""

    __slots__ = (
        "_answered",
        "_outbox",
        "deadline",
        "messages",
        "request",
        "senders",
        "size",
        "topic",
    )

    deadline: float
    request: Request

    def __init__(
        self, outbox: Outbox, topic: str, message: bytes, sender: "asyncio.Future[None]"
    ) -> None:
        self._outbox = outbox
        self._answered = False
        self.topic = topic
        self.messages = [message]
        self.senders = [sender]
        self.size = len(message)

    def done(self) -> bool:
        return self._answered

    def set_result(self, reply: Reply) -> None:
        self._answered = True
        self._outbox.settle(self, reply)

    def set_exception(self, error: Exception) -> None:
        self._answered = True
        self._outbox.persist(self, error)

    def settle(self, outcomes: list[Outcome]) -> None:
        for sender, outcome in zip(self.senders, outcomes, strict=True):
            if sender.done():
                continue
            if outcome is None:
                sender.set_result(None)
            else:
                sender.set_exception(outcome)

    def fail(self, error: Exception) -> None:
        """Each sender gets a copy of its own: who raises an exception changes it."""
        self.settle([copy.copy(error) for _ in self.senders])
