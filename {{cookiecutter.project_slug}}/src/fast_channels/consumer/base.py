"""The consumer: one connection (or one job), its channel and its handlers.

Two tasks per connection: the ASGI call itself runs the handlers; a second one reads what the client
sends. Neither makes a task per message. A third one exists only to handle the client's leaving beside
a handler that does not end.

Invariants
- Handlers run one at a time, what the client sent in its order, what the layer delivered in its.
- The client's leaving is handled within ``disconnect_patience`` seconds, also beside a handler that
  is still running; what the client sent before is handled first if that takes no longer.
- A handler that still runs ``disconnect_grace`` seconds after that is cancelled; so is one that runs
  ``overflow_grace`` seconds after the mailbox overflowed, if the policy is to close.
- However the consumer ends, it leaves all its groups and its channel is closed; if the server had
  dispatched anything to it, its ``cleanup()`` runs first, exactly once.
- At most ``backlog`` frames and one more are read ahead of the handlers; the server's flow control
  does the rest. While they wait, the client's leaving is not seen.
"""

import asyncio
import contextlib
import functools
import logging
from typing import Any, ClassVar, cast

from ..exceptions import StopConsumer
from ..layers.base import BaseChannelLayer
from ..layers.registry import DEFAULT_ALIAS, channel_layers
from ..mailbox import Mailbox, Message, Overflow
from ..type_defs import Event, Headers, HeadersInput, Receive, Scope, Send
from ..utils import is_cancelled

logger = logging.getLogger(__name__)


def encode_headers(headers: HeadersInput | None) -> Headers:
    """Header pairs as ASGI wants them: bytes; a str is encoded as latin-1 (ASGI specification)."""
    return [(_latin1(name), _latin1(value)) for name, value in headers or ()]


def _latin1(value: bytes | str) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else value


class ConsumerApp:
    """A consumer class as an ASGI application: each connection gets an instance of its own.

    An object, not a function: Starlette calls a function as an endpoint, and an object as ASGI.
    """

    def __init__(self, consumer_class: type["AsyncConsumer"], initkwargs: dict[str, Any]) -> None:
        self.consumer_class = consumer_class
        self.consumer_initkwargs = initkwargs

    def __repr__(self) -> str:
        return f"<ASGI app of {self.consumer_class.__qualname__}>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.consumer_class(**self.consumer_initkwargs)(scope, receive, send)


@functools.lru_cache(maxsize=1024)
def handler_name(message_type: str) -> str:
    """``"chat.message"`` → ``"chat_message"``; ``ValueError`` if it could name a private method."""
    if message_type.startswith(("_", ".")):
        raise ValueError(f"A message type must not start with _ or ., as {message_type!r} does")
    return message_type.replace(".", "_")


class AsyncConsumer:
    """Dispatches each message to the method named by its type.

    ``channel_layer_alias`` names a registered layer; None takes the one registered as ``"default"``
    if there is one, and otherwise the consumer has no layer. ``overflow`` says what happens to
    messages from the layer that find the consumer's mailbox full (see ``fast_channels.mailbox``).
    """

    channel_layer_alias: ClassVar[str | None] = None
    overflow: ClassVar[Overflow] = "drop_newest"
    backlog: ClassVar[int] = 16
    disconnect_patience: ClassVar[float] = 0.25
    disconnect_grace: float = 10.0
    overflow_grace: ClassVar[float] = 5.0
    final_types: ClassVar[frozenset[str]] = frozenset()

    scope: Scope
    # None in a consumer without a layer; typed as always there, for the handlers that need one.
    channel_layer: BaseChannelLayer = cast(BaseChannelLayer, None)
    channel_name: str = cast(str, None)

    _asgi_send: Send

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> ConsumerApp:
        """An ASGI application; ``initkwargs`` go to each instance's ``__init__``."""
        return ConsumerApp(cls, initkwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._asgi_send = send
        self.bind_layer()
        try:
            await _Connection(self, await self._open_mailbox()).run(receive)
        finally:
            await self._close_channel()

    async def dispatch(self, message: Event) -> None:
        """Call the handler that the message's ``type`` names; ``ValueError`` if there is none."""
        message_type = message.get("type")
        if not isinstance(message_type, str):
            raise ValueError(
                f"A message needs a type, a str, to find its handler: {message!r:.200}"
            )
        handler = getattr(self, handler_name(message_type), None)
        if handler is None:
            raise ValueError(
                f"{type(self).__qualname__} has no method {handler_name(message_type)}() for "
                f"messages of type {message_type!r}"
            )
        await handler(message)

    async def send(self, message: Event) -> None:
        """Send an ASGI event to the server."""
        await self._asgi_send(message)

    async def layer_reconnected(self, message: Message) -> None:
        """The layer was cut off from its broker, and messages of that time may be missing."""

    async def cleanup(self, error: BaseException) -> None:
        """Called once if the consumer ends by ``error``: a handler's, StopConsumer, cancellation."""

    async def overflowed(self) -> None:
        """Called when the mailbox overflowed and ``overflow`` is ``"close"``."""

    def bind_layer(self) -> None:
        """Set ``channel_layer``; ``InvalidChannelLayerError`` if the alias is not registered."""
        if self.channel_layer_alias is not None:
            self.channel_layer = channel_layers.require(self.channel_layer_alias)
        else:
            self.channel_layer = channel_layers.get(DEFAULT_ALIAS) or self.channel_layer

    async def _open_mailbox(self) -> Mailbox:
        if not self.has_layer:
            return Mailbox(capacity=1)
        self.channel_name = await self.channel_layer.new_channel()
        return self.channel_layer.mailbox(self.channel_name, self.overflow)

    async def _close_channel(self) -> None:
        if cast(object, self.channel_name) is not None:
            await self.channel_layer.close_channel(self.channel_name)

    @property
    def has_layer(self) -> bool:
        return cast(object, self.channel_layer) is not None


class _Connection:
    """Runs one consumer between its client and its mailbox."""

    __slots__ = (
        "beside",
        "closing",
        "consumer",
        "error",
        "final",
        "frames",
        "given_up",
        "hurrying",
        "interrupted",
        "leaving",
        "left",
        "loop",
        "mailbox",
        "room",
        "task",
        "waiting",
    )

    def __init__(self, consumer: AsyncConsumer, mailbox: Mailbox) -> None:
        self.consumer = consumer
        self.mailbox = mailbox
        self.loop = asyncio.get_running_loop()
        self.task = cast("asyncio.Task[None]", asyncio.current_task(self.loop))
        self.frames: list[Event] = []
        self.room: asyncio.Future[None] | None = None  # set when the reader waits for room
        self.final: Event | None = None  # the client has left
        self.error: BaseException | None = None  # the server failed to say what the client sends
        self.waiting: asyncio.Future[None] | None = None  # for something to handle
        self.closing = False  # by overflow or otherwise: what overflows now changes nothing
        self.hurrying: asyncio.TimerHandle | None = None
        self.leaving: asyncio.TimerHandle | None = None
        self.beside: asyncio.Task[None] | None = None  # handles the leaving beside a slow handler
        self.left = False  # it has been handled there
        self.interrupted = False  # this task is cancelled by ourselves, to end the running handler
        self.given_up = False  # no other handler is to run

    async def run(self, receive: Receive) -> None:
        """Returns when the client has left or a handler stopped the consumer; raises its error."""
        if self.mailbox.overflow == "close":
            self.mailbox.on_overflow = self.on_overflow
        reader = self.loop.create_task(self.read(receive))
        try:
            await self.handle()
        except BaseException as error:
            self.calm_down()
            await self.fail(error)
            if not isinstance(error, StopConsumer):
                raise
        finally:
            self.calm_down()
            if tasks := [one for one in (reader, self.beside) if one and not one.done()]:
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
        except BaseException as error:
            if is_cancelled():
                raise
            self.error = error
            self.give_up()
        if self.idle:
            self.mailbox.poke()
        elif self.final is not None:
            self.leaving = self.loop.call_later(
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
        """Dispatch frames and messages in turn; then the client's leaving."""
        dispatch = self.consumer.dispatch
        while not self.given_up:
            try:
                if self.frames:
                    await dispatch(self.next_frame())
                if self.left:
                    if not self.frames:
                        break
                elif self.mailbox.overflowed and not self.closing:
                    await self.close()
                elif (message := self.mailbox.take()) is not None:
                    await dispatch(message)
                elif not self.frames:
                    if self.final is not None:
                        break
                    self.waiting = self.mailbox.waiter(self.loop)
                    await self.waiting
            except asyncio.CancelledError as error:
                if not self.interrupted:
                    if is_cancelled():
                        raise
                    raise RuntimeError("Something that a handler awaited was cancelled") from error
            if self.interrupted:
                self.interrupted = False
                if self.task.uncancel():
                    raise asyncio.CancelledError  # somebody else has cancelled it as well
        await self.leave()

    async def close(self) -> None:
        self.mailbox.overflowed = False
        self.calm_down()
        await self.consumer.overflowed()

    async def leave(self) -> None:
        self.calm_down()
        if self.error is not None:
            raise self.error
        if self.beside is not None:
            await self.beside
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
        self.beside = self.loop.create_task(self.leave_beside())

    async def leave_beside(self) -> None:
        """Handle the leaving beside the handler that still runs, which then gets its grace."""
        grace = 0.0
        try:
            await self.handle_final(cast(Event, self.final))
            grace = self.consumer.disconnect_grace
        finally:
            self.left = True
            self.leaving = self.loop.call_later(grace, self.give_up)

    def on_overflow(self) -> None:
        """Called in the thread of who sent too much."""
        self.loop.call_soon_threadsafe(self.hurry)

    def hurry(self) -> None:
        """The mailbox overflowed and its policy is to close: the running handler must end soon."""
        if self.hurrying is None and not self.closing:
            self.hurrying = self.loop.call_later(self.consumer.overflow_grace, self.interrupt)

    def give_up(self) -> None:
        self.given_up = True
        self.interrupt()

    def interrupt(self) -> None:
        """End the running handler, by cancelling the task in which it runs."""
        if self.idle:
            self.mailbox.poke()
        elif not self.task.done():
            self.interrupted = self.task.cancel()

    def calm_down(self) -> None:
        """The end has come: nothing is to be hurried any more."""
        self.closing = True
        for timer in (self.hurrying, self.leaving):
            if timer is not None:
                timer.cancel()
        self.hurrying = self.leaving = None
