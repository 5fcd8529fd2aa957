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
from .exchange import Exchange, Exchanges
from .link import Command, Reply
from .topology import Commands

MOST_MESSAGES = 50
MOST_BYTES = 64 * 1024
MOST_WAITING = 100_000  # what a process sends in some seconds
MOST_WAITING_BYTES = 64 * 1024 * 1024

Outcome = Exception | None
Request = tuple[Commands, Command]  # what brings a batch to its topic, and who executes it
Outcomes = Callable[[str, int, Reply], list[Outcome]]


class Outbox:
    """``request(topic, messages)`` makes the command that brings a batch to its topic, and says who
    executes it. ``outcomes(topic, number, reply)`` says what the reply means to each of the messages:
    an exception is raised to the sender.
    """

    def __init__(
        self,
        timeout: float,
        request: Callable[[str, list[bytes]], Request],
        outcomes: Outcomes | None = None,
        *,
        repeatable: bool = True,
        replicated: bool = False,
    ) -> None:
        self._outcomes = outcomes
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._request = request
        self._exchanges = Exchanges(repeatable=repeatable, replicated=replicated)
        self.aclose = self._exchanges.aclose
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
            batch = self._open[topic] = Batch(self._exchanges, topic, self._outcomes, self._settled)
            self._batches.append(batch)
        batch.messages.append(message)
        batch.senders.append(sender)
        batch.size += len(message)
        return sender

    def _settled(self, batch: "Batch") -> None:
        self._waiting -= len(batch.senders)
        self._waiting_bytes -= batch.size

    def _transmit(self) -> None:
        batches, self._batches = self._batches, []
        self._open.clear()
        links = set()
        for batch in batches:
            try:
                request = self._request(batch.topic, batch.messages)
                links.add(batch.start(*request, timeout=self._timeout))
            except Exception as error:
                batch.failed(error)
        for link in links:
            if link is not None:
                link.flush()


class Batch(Exchange):
    __slots__ = ("_on_settled", "_outcomes", "messages", "senders", "size", "topic")

    def __init__(
        self,
        exchanges: Exchanges,
        topic: str,
        outcomes: Outcomes | None,
        on_settled: "Callable[[Batch], None]",
    ) -> None:
        super().__init__(exchanges)
        self._on_settled = on_settled
        self._outcomes = outcomes
        self.topic = topic
        self.messages: list[bytes] = []
        self.senders: list[asyncio.Future[None]] = []
        self.size = 0

    def succeeded(self, reply: Reply) -> None:
        if self._outcomes is not None:
            self._settle(self._outcomes(self.topic, len(self.senders), reply))
            return
        self._on_settled(self)
        for sender in self.senders:
            if not sender.done():  # it is if it was cancelled
                sender.set_result(None)

    def failed(self, error: Exception) -> None:
        """Each sender gets a copy of its own: who raises an exception changes it."""
        self._settle([copy.copy(error) for _ in self.senders])

    def _settle(self, outcomes: list[Outcome]) -> None:
        self._on_settled(self)
        for sender, outcome in zip(self.senders, outcomes, strict=True):
            if sender.done():
                continue
            if outcome is None:
                sender.set_result(None)
            else:
                sender.set_exception(outcome)
