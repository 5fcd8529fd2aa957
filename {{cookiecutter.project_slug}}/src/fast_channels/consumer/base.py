"""The consumer: one connection (or one job), its channel and its handlers.

Two tasks per connection: the ASGI call itself runs the handlers; a second one reads what the client
sends. Neither makes a task per message. A third one exists only to handle the client's disconnect
beside a handler that does not end.

Invariants
- However the consumer ends, it leaves all its groups and its channel is closed; if the server had
  dispatched anything to it, its ``cleanup()`` runs first, exactly once.
- Handlers run one at a time, what the client sent in its order, what the layer delivered in its.
- Messages of the layer go first, for their mailbox can only drop what the client's socket can hold
  back; but after as many as the mailbox holds it is the next frame's turn, so that no flood silences
  the client. A client whose own frames come back as messages gives way to the loop's other tasks
  before its next one: the mailboxes of all its hearers are no larger than its own.
- The client's disconnect is handled within ``disconnect_patience`` seconds, also beside a handler that
  is still running; what the client sent before is handled first if that takes no longer.
- A handler that still runs ``disconnect_grace`` seconds after that is cancelled; so is one that runs
  ``overflow_grace`` seconds after the mailbox overflowed, if the policy is to close.
- At most ``backlog`` frames and one more are read ahead of the handlers; the server's flow control
  does the rest. While they wait, the client's disconnect is not seen.
- A run is over when the client has disconnected and nothing else waits, or when that was handled beside
  a handler; when ``receive()`` failed; when a handler failed, stopped the consumer, or was cancelled by
  the server. Then no other one is called, and once it has ended nothing cancels the server's task.

Which handlers a message of the layer may call, and which arguments a class takes, ``handlers`` says.
"""

import asyncio
import contextlib
import inspect
import logging
import sys
from collections.abc import Collection
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, ClassVar, Protocol

from ..exceptions import NoChannelLayer, StopConsumer, UnhandledMessage
from ..layers.base import BaseChannelLayer
from ..layers.registry import DEFAULT_ALIAS, channel_layers
from ..mailbox import Mailbox, Message, Overflow
from ..tasks import is_cancelled
from ..type_defs import Event, Receive, Scope, Send
from .handlers import LayerHandlers, arguments_of, handler_name, layer_event, name_for, refuse

logger = logging.getLogger(__name__)

ABNORMAL_CLOSURE = 1006  # no close frame has come (RFC 6455, 7.1.5)


class AsyncConsumer:
    """Dispatches each message to the method named by its type.

    ``channel_layer_alias`` names a registered layer; None takes the one registered as ``"default"``
    if there is one, and otherwise the consumer has no layer. ``overflow`` says what happens to
    messages from the layer that find the consumer's mailbox full (see ``fast_channels.mailbox``).

    ``handlers`` lists the types of the messages that the layer may deliver, ``"chat.message"`` or
    ``"chat_message"``; None means each of the class's own async methods that take one message. What
    the base classes define is never among them, but for ``layer_reconnected``, which always is.

    A class without an ``__init__`` of its own takes as an argument what it declares, by an annotation
    or a class attribute (``user: User``, ``limit = 5``), and has it as an attribute; ``TypeError`` for
    another one. All times are in seconds.
    """

    channel_layer_alias: ClassVar[str | None] = None
    overflow: ClassVar[Overflow] = "drop_newest"
    handlers: ClassVar[Collection[str] | None] = None
    final_type: ClassVar[str] = ""  # of the client's disconnect
    backlog: ClassVar[int] = 16
    disconnect_patience: ClassVar[float] = 0.25
    disconnect_grace: float = 10.0
    overflow_grace: ClassVar[float] = 5.0

    scope: Scope
    channel_name = ""  # its own channel; none without a layer, nor for a job
    client_has_left = False  # the server has said so; what the client sent before may still wait

    _asgi_send: Send
    _layer_handlers: ClassVar[LayerHandlers]
    _consumer_run: "ConsumerRun | None" = None  # while it runs

    def __init__(self, **arguments: Any) -> None:
        # Without any, no __dict__ is asked for: CPython 3.11 reads attributes slower after that.
        if arguments:
            own: type = type(self)
            names = arguments_of(own)
            if wrong := arguments.keys() - names:
                raise TypeError(
                    f"{own.__qualname__} declares no {', '.join(sorted(wrong))}; "
                    f"it takes {', '.join(sorted(names)) or 'no arguments'}"
                )
            vars(self).update(arguments)

    @cached_property  # a plain attribute, and as fast, once it is set
    def channel_layer(self) -> BaseChannelLayer:
        """The consumer's layer; ``NoChannelLayer`` if it has none."""
        raise NoChannelLayer(
            f"{type(self).__qualname__} has no channel layer: register one as {DEFAULT_ALIAS!r}, "
            f"or set channel_layer_alias"
        )

    @property
    def has_layer(self) -> bool:
        return hasattr(self, "channel_layer")

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> "ConsumerApp":
        """An ASGI application; ``initkwargs`` go to each instance's ``__init__``.

        FastAPI's ``add_api_websocket_route`` takes it as well. A consumer whose arguments come from
        FastAPI's dependencies has ``AsyncWebsocketConsumer.serve``.
        """
        return ConsumerApp(cls, initkwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._asgi_send = send
        self.bind_layer()
        if not self.has_layer:
            return await ConsumerRun(self, Mailbox(capacity=1)).run(receive)
        self.channel_name = await self.channel_layer.new_channel()
        try:
            mailbox = self.channel_layer.mailbox(self.channel_name, self.overflow)
            await ConsumerRun(self, mailbox).run(receive)
        finally:
            await self.channel_layer.close_channel(self.channel_name)

    async def dispatch(self, message: Event) -> None:
        """Call the handler that the message's ``type`` names; ``ValueError`` if there is none."""
        kind = message.get("type")
        name = handler_name(kind) if type(kind) is str else name_for(message)
        handler = getattr(self, name, None)
        if handler is None:
            own = type(self).__qualname__
            raise UnhandledMessage(f"{own} has no method {name}() for the type {kind!r:.200}")
        await handler(message)

    async def send(self, message: Event) -> None:
        """Send an ASGI event to the server."""
        await self._asgi_send(message)

    @layer_event
    async def layer_reconnected(self, message: Message) -> None:
        """The layer was cut off from its broker, and messages of that time may be missing."""

    def bind_layer(self) -> None:
        """Set ``channel_layer``; ``InvalidChannelLayerError`` if the alias is not registered."""
        if self.channel_layer_alias is not None:
            self.channel_layer = channel_layers.require(self.channel_layer_alias)
        elif (layer := channel_layers.get(DEFAULT_ALIAS)) is not None:
            self.channel_layer = layer

    @classmethod
    def layer_handlers(cls) -> LayerHandlers:
        """The handlers that messages of the layer may call; ``ValueError`` for wrong ``handlers``."""
        if "_layer_handlers" not in vars(cls):
            cls._layer_handlers = LayerHandlers(cls, cls.handlers, cls.final_type)
        return cls._layer_handlers

    def let_go(self, code: int) -> None:
        """Treat the client as gone, for a part of the consumer that gives up on it: ``disconnect(code)``."""
        if self._consumer_run is not None:
            self._consumer_run.disconnected({"type": self.final_type, "code": code})

    async def cleanup(self, error: BaseException) -> None:
        """Called once if the consumer ends by ``error``: a handler's, StopConsumer, cancellation."""

    async def overflowed(self) -> None:
        """Called when the mailbox overflowed and ``overflow`` is ``"close"``."""


class Socket(Protocol):
    """A ``starlette.websockets.WebSocket``, of which only what is documented is used.

    Starlette is not imported here: whoever passes a WebSocket has done so.
    """

    scope: Scope
    client_state: Any
    application_state: Any

    async def receive(self) -> Event: ...

    async def send(self, message: Event, /) -> None: ...


def events_of(websocket: Socket) -> tuple[Scope, Receive, Send]:
    """What a server gives to an application; ``RuntimeError`` if the socket was answered already.

    As of a server, a client that has left is an OSError to whoever sends.
    """
    for state in (websocket.client_state, websocket.application_state):
        if state.name != "CONNECTING":
            raise RuntimeError(
                f"A consumer accepts or refuses its socket itself: it needs a CONNECTING WebSocket, "
                f"not one that is {state.name}"
            )

    async def send(event: Event) -> None:
        try:
            await websocket.send(event)
        except Exception as error:  # Starlette's WebSocketDisconnect in the place of the OSError
            if getattr(error, "code", None) != ABNORMAL_CLOSURE:
                raise
            raise ConnectionResetError("The client has left") from error

    return websocket.scope, websocket.receive, send


class ConsumerApp:
    """A consumer class as an ASGI application: each connection gets an instance of its own.

    An object, not a function: Starlette calls a function as an endpoint, and an object as ASGI. To
    FastAPI it is an endpoint all the same, which takes a WebSocket.
    """

    def __init__(self, consumer_class: type[AsyncConsumer], initkwargs: dict[str, Any]) -> None:
        self.consumer_class = consumer_class
        self.consumer_initkwargs = initkwargs

    @property
    def __signature__(self) -> inspect.Signature:
        """What FastAPI reads of an endpoint."""
        if (starlette := sys.modules.get("starlette.websockets")) is None:
            raise AttributeError("__signature__")
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Signature([inspect.Parameter("scope", kind, annotation=starlette.WebSocket)])

    def __repr__(self) -> str:
        return f"<ASGI app of {self.consumer_class.__qualname__}>"

    async def __call__(
        self, scope: Any, receive: Receive | None = None, send: Send | None = None
    ) -> None:
        consumer = self.consumer_class(**self.consumer_initkwargs)
        if receive is None or send is None:
            scope, receive, send = events_of(scope)
        await consumer(scope, receive, send)


@dataclass(eq=False, repr=False, slots=True)
class ConsumerRun:
    """Runs one consumer between its client and its mailbox, in the task that makes it."""

    consumer: AsyncConsumer
    mailbox: Mailbox
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    task: "asyncio.Task[None] | None" = field(default_factory=asyncio.current_task)
    context: Context = field(default_factory=copy_context)  # before the handler that runs
    over: bool = False  # no handler is to be called any more, though one may still run
    frames: list[Event] = field(default_factory=list)
    room: "asyncio.Future[None] | None" = None  # set when the reader waits for room
    waiting: "asyncio.Future[None] | None" = None  # for something to handle
    receive_error: BaseException | None = None
    disconnect_event: Event | None = None
    disconnect_task: "asyncio.Task[None] | None" = None  # handles that event beside a handler
    disconnect_timer: asyncio.TimerHandle | None = None
    overflow_timer: asyncio.TimerHandle | None = None
    cancelled_by_us: bool = False  # this task, to end the running handler

    async def run(self, receive: Receive) -> None:
        """Returns when the client has left or a handler stopped the consumer; raises its error."""
        if self.mailbox.overflow == "close":  # called in the sender's thread
            in_loop = self.loop.call_soon_threadsafe
            self.mailbox.on_overflow = partial(in_loop, self.start_overflow_timer)
        self.consumer._consumer_run = self
        reader = self.loop.create_task(self.read(receive))
        try:
            await self.handle()
        except BaseException as error:
            self.end()
            try:
                await self.consumer.cleanup(error)
            except Exception:
                logger.exception("Cleaning up %s failed as well", type(self.consumer).__qualname__)
            if not isinstance(error, StopConsumer):
                raise
        finally:
            self.end()
            self.consumer._consumer_run = None
            if tasks := [one for one in (reader, self.disconnect_task) if one and not one.done()]:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    async def read(self, receive: Receive) -> None:
        """Pass on what the client sends until it has disconnected."""
        consumer = self.consumer
        try:
            while (event := await receive())["type"] != consumer.final_type:
                while len(self.frames) >= consumer.backlog:
                    self.room = self.loop.create_future()
                    await self.room
                self.frames.append(event)
                self.mailbox.poke()
        except BaseException as error:
            if is_cancelled():
                raise
            if not self.over:
                self.receive_error = error
                self.over = True
                self.cancel_handler()
        else:
            self.disconnected(event)

    def disconnected(self, event: Event) -> None:
        """Handle the client's disconnect: the server's word of it, or that of whoever gives up on both."""
        if self.disconnect_event is not None:
            return
        self.disconnect_event = event
        self.consumer.client_has_left = True
        if self.idle:
            self.mailbox.poke()
        else:
            patience = self.consumer.disconnect_patience
            self.disconnect_timer = self.loop.call_later(patience, self.start_disconnect_task)

    @property
    def idle(self) -> bool:
        """No handler runs or is about to."""
        return self.waiting is not None and not self.waiting.done()

    async def handle(self) -> None:
        """Handle messages and frames until the client has disconnected; then that."""
        consumer, mailbox, frames = self.consumer, self.mailbox, self.frames
        handlers, dispatch = consumer.layer_handlers(), consumer.dispatch
        types, capacity = handlers.types, mailbox.capacity
        before_a_frame, gave_way = capacity, False  # how many messages may still go first
        while not self.over:
            try:
                if mailbox.overflowed:
                    await self.close_on_overflow()
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
                    if self.room is not None and not self.room.done():
                        self.room.set_result(None)
                    await dispatch(frames.pop(0))
                    before_a_frame, gave_way = capacity, False
                elif self.disconnect_event is not None:
                    break
                else:
                    self.waiting = mailbox.waiter(self.loop)
                    await self.waiting
            except asyncio.CancelledError as error:
                if not self.cancelled_by_us:
                    if is_cancelled():
                        raise
                    raise RuntimeError("Something that a handler awaited was cancelled") from error
            if self.cancelled_by_us and self.task is not None:
                self.cancelled_by_us = False
                if self.task.uncancel():
                    raise asyncio.CancelledError  # somebody else has cancelled it as well
        self.end()
        if self.receive_error is not None:
            raise self.receive_error
        if self.disconnect_task is not None:
            await self.disconnect_task
        else:
            await self.handle_disconnect()

    async def close_on_overflow(self) -> None:
        self.mailbox.overflow = "drop_newest"  # what overflows now changes nothing
        self.mailbox.overflowed = False
        if self.overflow_timer is not None:
            self.overflow_timer.cancel()
        await self.consumer.overflowed()

    async def handle_disconnect(self) -> None:
        if self.disconnect_event is not None:
            with contextlib.suppress(StopConsumer):
                await self.consumer.dispatch(self.disconnect_event)

    def end(self) -> None:
        self.over = True
        for timer in (self.overflow_timer, self.disconnect_timer):
            if timer is not None:
                timer.cancel()

    # When a handler takes too long

    def start_disconnect_task(self) -> None:
        work = self.disconnect_beside_handler()
        self.disconnect_task = self.loop.create_task(work, context=self.context)

    async def disconnect_beside_handler(self) -> None:
        """The handler then gets its grace, unless its task has only waited for this."""
        grace = 0.0
        try:
            await self.handle_disconnect()
            grace = self.consumer.disconnect_grace
        finally:
            if not self.over:
                self.over = True
                self.disconnect_timer = self.loop.call_later(grace, self.cancel_handler)

    def start_overflow_timer(self) -> None:
        """The mailbox overflowed and its policy is to close: the running handler must end soon."""
        if self.overflow_timer is None and self.mailbox.overflow == "close" and not self.over:
            grace = self.consumer.overflow_grace
            self.overflow_timer = self.loop.call_later(grace, self.cancel_handler)

    def cancel_handler(self) -> None:
        """By cancelling the task in which it runs."""
        if self.idle:
            self.mailbox.poke()
        elif self.task is not None and not self.task.done():
            self.cancelled_by_us = self.task.cancel()
