"""One connection's run: a consumer between its client and its mailbox.

Two tasks per connection: the ASGI call itself runs the handlers; a second one reads what the client
sends. Neither makes a task per message. A third one exists only to handle the client's leaving beside
a handler that does not end.

Invariants
- Handlers run one at a time, what the client sent in its order, what the layer delivered in its.
- Messages of the layer go first, for their mailbox can only drop what the client's socket can hold
  back; but after as many as the mailbox holds it is the next frame's turn, so that no flood silences
  the client. A client whose own frames come back as messages gives way to the loop's other tasks
  before its next one: the mailboxes of all who hear it are no larger than its own.
- The client's leaving is handled within ``disconnect_patience`` seconds, also beside a handler that
  is still running; what the client sent before is handled first if that takes no longer.
- A handler that still runs ``disconnect_grace`` seconds after that is cancelled; so is one that runs
  ``overflow_grace`` seconds after the mailbox overflowed, if the policy is to close.
- At most ``backlog`` frames and one more are read ahead of the handlers; the server's flow control
  does the rest. While they wait, the client's leaving is not seen.
"""

import asyncio
import contextlib
import enum
import logging
from contextvars import copy_context
from typing import ClassVar, Protocol, cast

from ..exceptions import StopConsumer, UnhandledMessage
from ..mailbox import Mailbox
from ..tasks import is_cancelled
from ..type_defs import Event, Receive
from .handlers import LayerHandlers, refuse

logger = logging.getLogger(__name__)


class Phase(enum.Enum):
    """How far a connection is::

    OPEN ─── the client has left, and nothing else waits ──────────▶ its leaving is handled ─▶ end
     ├── it has left, and a handler runs on ``disconnect_patience``:
     │   its leaving is handled beside it ─▶ LEFT ── the handler returns ────────────────────▶ end
     │                                        └──── it runs on ``disconnect_grace`` ─▶ OVER ─▶ end
     └── the server failed to say what the client sends ─────────────────────────────▶ OVER ─▶ end
    """

    OPEN = enum.auto()
    LEFT = enum.auto()  # the leaving has been handled; what waits is dropped
    OVER = enum.auto()  # no handler is to run any more


OPEN = Phase.OPEN  # spares a look into the enum for each message


class Runnable(Protocol):
    """What a connection asks of its consumer, and tells it."""

    final_types: ClassVar[frozenset[str]]
    backlog: ClassVar[int]
    disconnect_patience: ClassVar[float]
    overflow_grace: ClassVar[float]
    disconnect_grace: float
    channel_name: str
    client_has_left: bool

    @classmethod
    def layer_handlers(cls) -> LayerHandlers: ...
    async def dispatch(self, message: Event, /) -> None: ...
    async def cleanup(self, error: BaseException, /) -> None: ...
    async def overflowed(self) -> None: ...


class Connection:
    """Runs one consumer between its client and its mailbox."""

    __slots__ = (
        "cancelled_by_us",
        "consumer",
        "context",
        "error",
        "final",
        "frames",
        "leave_task",
        "leave_timer",
        "loop",
        "mailbox",
        "overflow_timer",
        "phase",
        "room",
        "task",
        "unhurried",
        "waiting",
    )

    def __init__(self, consumer: Runnable, mailbox: Mailbox) -> None:
        self.consumer = consumer
        self.mailbox = mailbox
        self.loop = asyncio.get_running_loop()
        self.task = cast("asyncio.Task[None]", asyncio.current_task(self.loop))
        self.context = copy_context()  # as the handlers before the running one left it
        self.phase = Phase.OPEN
        self.frames: list[Event] = []
        self.room: asyncio.Future[None] | None = None  # set when the reader waits for room
        self.final: Event | None = None  # the client has left
        self.error: BaseException | None = None  # the server failed to say what the client sends
        self.waiting: asyncio.Future[None] | None = None  # for something to handle
        self.leave_timer: asyncio.TimerHandle | None = None
        self.leave_task: asyncio.Task[None] | None = None  # handles the leaving beside a handler
        self.overflow_timer: asyncio.TimerHandle | None = None
        # It closes, by overflow or otherwise: what overflows now changes nothing.
        self.unhurried = False
        self.cancelled_by_us = False  # this task, to end the running handler

    async def run(self, receive: Receive) -> None:
        """Returns when the client has left or a handler stopped the consumer; raises its error."""
        if self.mailbox.overflow == "close":
            self.mailbox.on_overflow = self.on_overflow
        reader = self.loop.create_task(self.read(receive))
        try:
            await self.handle()
        except BaseException as error:
            self.stop_timers()
            await self.fail(error)
            if not isinstance(error, StopConsumer):
                raise
        finally:
            self.stop_timers()
            if tasks := [one for one in (reader, self.leave_task) if one and not one.done()]:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    # What the client sends

    async def read(self, receive: Receive) -> None:
        """Pass on what the client sends until it has left."""
        try:
            while (event := await receive())["type"] not in self.consumer.final_types:
                while len(self.frames) >= self.consumer.backlog:
                    self.room = self.loop.create_future()
                    await self.room
                self.frames.append(event)
                self.mailbox.poke()
            self.final = event
            self.consumer.client_has_left = True
        except BaseException as error:
            if is_cancelled():
                raise
            self.error = error
            self.give_up()
        if self.idle:
            self.mailbox.poke()
        elif self.final is not None:
            self.leave_timer = self.loop.call_later(
                self.consumer.disconnect_patience, self.start_leaving
            )

    def next_frame(self) -> Event:
        if self.room is not None and not self.room.done():
            self.room.set_result(None)
        return self.frames.pop(0)

    # What handlers do

    @property
    def idle(self) -> bool:
        """No handler runs or is about to."""
        return self.waiting is not None and not self.waiting.done()

    async def handle(self) -> None:
        """Handle messages and frames until the client has left; then its leaving."""
        consumer, mailbox, frames = self.consumer, self.mailbox, self.frames
        handlers, dispatch, capacity = (
            consumer.layer_handlers(),
            consumer.dispatch,
            mailbox.capacity,
        )
        types = handlers.types
        before_a_frame, gave_way = capacity, False  # how many messages may still go first
        while self.phase is OPEN:
            try:
                if mailbox.overflowed and not self.unhurried:
                    await self.close()
                elif (before_a_frame or not frames) and (message := mailbox.take()) is not None:
                    if frames:
                        before_a_frame -= 1
                    self.context = copy_context()
                    kind = message.get("type")
                    try:
                        if type(kind) is not str or kind not in types:
                            handlers.require(consumer, message)
                        await dispatch(message)
                    except UnhandledMessage as refusal:
                        refuse(refusal)
                elif frames and before_a_frame < capacity and not gave_way:
                    gave_way = True
                    await asyncio.sleep(0)
                elif frames:
                    self.context = copy_context()
                    await dispatch(self.next_frame())
                    before_a_frame, gave_way = capacity, False
                elif self.final is not None:
                    break
                else:
                    self.waiting = mailbox.waiter(self.loop)
                    await self.waiting
            except asyncio.CancelledError as error:
                if not self.cancelled_by_us:
                    if is_cancelled():
                        raise
                    raise RuntimeError("Something that a handler awaited was cancelled") from error
            if self.cancelled_by_us:
                self.cancelled_by_us = False
                if self.task.uncancel():
                    raise asyncio.CancelledError  # somebody else has cancelled it as well
        await self.leave()

    async def close(self) -> None:
        self.mailbox.overflowed = False
        self.stop_timers()
        await self.consumer.overflowed()

    async def leave(self) -> None:
        self.stop_timers()
        if self.error is not None:
            raise self.error
        if self.leave_task is not None:
            await self.leave_task
        elif self.final is not None:
            await self.handle_final(self.final)

    async def handle_final(self, event: Event) -> None:
        with contextlib.suppress(StopConsumer):
            await self.consumer.dispatch(event)

    async def fail(self, error: BaseException) -> None:
        try:
            await self.consumer.cleanup(error)
        except Exception:
            logger.exception("Cleaning up %s failed as well", self.consumer.channel_name)

    # When a handler takes too long

    def start_leaving(self) -> None:
        self.leave_task = self.loop.create_task(self.leave_beside(), context=self.context)

    async def leave_beside(self) -> None:
        """Handle the leaving beside the handler that still runs, which then gets its grace."""
        grace = 0.0
        try:
            await self.handle_final(cast(Event, self.final))
            grace = self.consumer.disconnect_grace
        finally:
            if self.phase is Phase.OPEN:
                self.phase = Phase.LEFT
            self.leave_timer = self.loop.call_later(grace, self.give_up)

    def on_overflow(self) -> None:
        """Called in the thread of who sent too much."""
        self.loop.call_soon_threadsafe(self.hurry)

    def hurry(self) -> None:
        """The mailbox overflowed and its policy is to close: the running handler must end soon."""
        if self.overflow_timer is None and not self.unhurried:
            self.overflow_timer = self.loop.call_later(
                self.consumer.overflow_grace, self.end_handler
            )

    def give_up(self) -> None:
        self.phase = Phase.OVER
        self.end_handler()

    def end_handler(self) -> None:
        """By cancelling the task in which it runs."""
        if self.idle:
            self.mailbox.poke()
        elif not self.task.done():
            self.cancelled_by_us = self.task.cancel()

    def stop_timers(self) -> None:
        """The end has come: nothing is to be hurried any more."""
        self.unhurried = True
        for timer in (self.overflow_timer, self.leave_timer):
            if timer is not None:
                timer.cancel()
        self.overflow_timer = self.leave_timer = None
