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
- At most ``MOST_WAITING`` messages, and ``MOST_WAITING_BYTES`` and one message, are not confirmed yet;
  a sender over that is refused at once, and its message is not sent.
"""

import asyncio
import copy
from collections.abc import Callable

from ...exceptions import ChannelLayerUnavailable
from .client.commands import CommandGroup, Commands, PendingCommand
from .client.connection import Command, Reply

MOST_MESSAGES = 50
MOST_BYTES = 64 * 1024
MOST_WAITING = 100_000  # what a process sends in some seconds
MOST_WAITING_BYTES = 64 * 1024 * 1024

Outcome = Exception | None
Request = tuple[Commands, Command]  # what brings a batch to its topic, and who executes it


class Batcher:
    """``request(topic, messages)`` makes the command of a batch. ``outcomes(topic, number, reply)`` says
    what its reply means to each of its messages, an exception for the sender or None; without it each
    message was accepted.
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
        self._loop = asyncio.get_running_loop()
        self._group = CommandGroup(repeatable=repeatable, replicated=replicated)
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
                connections.add(batch.start(self._group, *request))
            except Exception as error:
                batch.failed(error)
        for connection in connections:
            if connection is not None:
                connection.write_pending()

    async def aclose(self) -> None:
        await self._group.aclose()


class Batch(PendingCommand):
    __slots__ = ("_batcher", "messages", "senders", "size", "topic")

    def __init__(self, batcher: Batcher, topic: str) -> None:
        self._batcher = batcher
        self.topic = topic
        self.messages: list[bytes] = []
        self.senders: list[asyncio.Future[None]] = []
        self.size = 0

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
