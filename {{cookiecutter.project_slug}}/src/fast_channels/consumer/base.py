"""The consumer: one connection (or one job), its channel and its handlers.

Two tasks per connection: the ASGI call itself reads what the client sends; a second one runs the
handlers. Neither makes a task per message.

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
from collections import deque
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
        name = handler_name(message_type)
        handler = getattr(self, name, None)
        if handler is None:
            raise ValueError(
                f"{type(self).__qualname__} has no method {name}() for messages of type "
                f"{message_type!r}"
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

    def __init__(self, consumer: AsyncConsumer, mailbox: Mailbox) -> None:
        self.consumer = consumer
        self.mailbox = mailbox
        self.frames: deque[Event] = deque()
        self.ended = False
        self.handlers: asyncio.Task[None] | None = None
        self.hurrying: asyncio.TimerHandle | None = None
        self.closing = False  # by overflow: what overflows now changes nothing any more
        self.gave_up = False  # the running handler is cancelled because the mailbox overflowed
        self.room: asyncio.Future[None] | None = None  # set when the reader waits for room
        self.settled: asyncio.Future[None] | None = None  # set when the reader waits for handlers

    async def run(self, receive: Receive) -> None:
        """Returns when the client has left or a handler stopped the consumer; raises its error."""
        loop = asyncio.get_running_loop()
        self.mailbox.on_overflow = lambda: loop.call_soon_threadsafe(self.hurry)
        try:
            async with asyncio.TaskGroup() as tasks:
                handlers = self.handlers = tasks.create_task(self.handle())
                final = await self.read(receive)
                await self.settle()
                await self.handle_final(final)
                self.ended = True
                self.mailbox.poke()
                await asyncio.wait([handlers], timeout=self.consumer.disconnect_grace)
                handlers.cancel()
        except BaseExceptionGroup as group:
            error = _first_error(group)
            await self.fail(error)
            if not isinstance(error, StopConsumer):
                raise error from None
        except asyncio.CancelledError as error:
            await self.fail(error)
            raise
        finally:
            self.calm_down()

    async def read(self, receive: Receive) -> Event:
        """Pass on what the client sends; returns the event that says it has left."""
        while True:
            event = await receive()
            if event["type"] in self.consumer.final_types:
                return event
            while len(self.frames) >= self.consumer.backlog:
                self.room = asyncio.get_running_loop().create_future()
                await self.room
            self.frames.append(event)
            self.mailbox.poke()

    async def handle(self) -> None:
        """Dispatch frames and messages in turn until the client has left and nothing is pending."""
        while True:
            if self.frames:
                await self.dispatch(self.next_frame())
            if self.ended:
                if not self.frames:
                    return
            elif self.mailbox.overflowed and not self.closing:
                self.mailbox.overflowed = False
                self.closing = True
                self.calm_down()
                await self.consumer.overflowed()
            elif (message := self.mailbox.take()) is not None:
                await self.dispatch(message)
            elif not self.frames:
                if self.settled is not None and not self.settled.done():
                    self.settled.set_result(None)
                await self.mailbox.wait()

    async def dispatch(self, message: Event) -> None:
        try:
            await self.consumer.dispatch(message)
        except asyncio.CancelledError as error:
            if self.gave_up:
                cast("asyncio.Task[None]", asyncio.current_task()).uncancel()
                self.gave_up = False
                return
            if is_cancelled():
                raise
            # A task group takes a cancelled task for a finished one: the socket would stay deaf.
            raise RuntimeError("Something that a handler awaited was cancelled") from error

    def hurry(self) -> None:
        """The mailbox overflowed and its policy is to close: the running handler must end soon."""
        if self.hurrying is None and not self.closing:
            loop = asyncio.get_running_loop()
            self.hurrying = loop.call_later(self.consumer.overflow_grace, self.give_up)

    def give_up(self) -> None:
        if self.handlers is not None:
            self.gave_up = self.handlers.cancel()

    def calm_down(self) -> None:
        if self.hurrying is not None:
            self.hurrying.cancel()
            self.hurrying = None

    def next_frame(self) -> Event:
        frame = self.frames.popleft()
        if self.room is not None and not self.room.done():
            self.room.set_result(None)
        return frame

    async def settle(self) -> None:
        """Let the handlers finish what came before the client left, if they are quick."""
        self.settled = asyncio.get_running_loop().create_future()
        self.mailbox.poke()
        await asyncio.wait([self.settled], timeout=self.consumer.disconnect_patience)

    async def handle_final(self, event: Event) -> None:
        with contextlib.suppress(StopConsumer):
            await self.consumer.dispatch(event)

    async def fail(self, error: BaseException) -> None:
        try:
            await self.consumer.cleanup(error)
        except Exception:
            logger.exception("Cleaning up %s failed as well", self.consumer.channel_name)


def _first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended a consumer: a real one rather than a StopConsumer beside it."""
    errors = (error for error in group.exceptions if not isinstance(error, StopConsumer))
    return next(errors, group.exceptions[0])
