"""The consumer: one connection (or one job), its channel and its handlers.

Invariants
- However the consumer ends, it leaves all its groups and its channel is closed; if the server had
  dispatched anything to it, its ``cleanup()`` runs first, exactly once.
- A message of the layer calls only what ``handlers.py`` allows. In which order what comes is handled,
  and what happens to a handler that does not end, is said in ``run.py``.
"""

from collections.abc import Collection
from typing import Any, ClassVar, cast

from ..exceptions import UnhandledMessage
from ..layers.base import BaseChannelLayer
from ..layers.registry import DEFAULT_ALIAS, channel_layers
from ..mailbox import Mailbox, Message, Overflow
from ..type_defs import Event, Headers, HeadersInput, Receive, Scope, Send
from .handlers import LayerHandlers, handler_name, name_for
from .run import Connection


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


class AsyncConsumer:
    """Dispatches each message to the method named by its type.

    ``channel_layer_alias`` names a registered layer; None takes the one registered as ``"default"``
    if there is one, and otherwise the consumer has no layer. ``overflow`` says what happens to
    messages from the layer that find the consumer's mailbox full (see ``fast_channels.mailbox``).

    ``handlers`` lists the types of the messages that the layer may deliver, ``"chat.message"`` or
    ``"chat_message"``; None means each of the class's own async methods that take one message. What
    the base classes define is never among them, but for ``layer_reconnected``, which always is.
    """

    channel_layer_alias: ClassVar[str | None] = None
    handlers: ClassVar[Collection[str] | None] = None
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

    client_has_left = False  # the server has said so; what the client sent before may still wait

    _asgi_send: Send
    _layer_handlers: ClassVar[LayerHandlers]

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> ConsumerApp:
        """An ASGI application; ``initkwargs`` go to each instance's ``__init__``."""
        return ConsumerApp(cls, initkwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._asgi_send = send
        self.bind_layer()
        try:
            await Connection(self, await self._open_mailbox()).run(receive)
        finally:
            await self._close_channel()

    async def dispatch(self, message: Event) -> None:
        """Call the handler that the message's ``type`` names; ``ValueError`` if there is none."""
        message_type = message.get("type")
        name = handler_name(message_type) if type(message_type) is str else name_for(message)
        handler = getattr(self, name, None)
        if handler is None:
            raise UnhandledMessage(
                f"{type(self).__qualname__} has no method {name}() for messages of type "
                f"{message_type!r:.200}"
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

    @classmethod
    def layer_handlers(cls) -> LayerHandlers:
        """The handlers that messages of the layer may call; ``ValueError`` for wrong ``handlers``."""
        found: LayerHandlers | None = cls.__dict__.get("_layer_handlers")
        if found is None:
            found = cls._layer_handlers = LayerHandlers(cls, cls.handlers, cls.final_types)
        return found

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
