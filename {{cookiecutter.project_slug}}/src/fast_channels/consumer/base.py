"""The consumer: one connection (or one job), its channel and its handlers.

Invariants
- However the consumer ends, it leaves all its groups and its channel is closed; if the server had
  dispatched anything to it, its ``cleanup()`` runs first, exactly once.
- A message of the layer calls only what ``handlers.py`` allows. In which order what comes is handled,
  and what happens to a handler that does not end, is said in ``run.py``.
"""

from functools import cached_property
from typing import Any, ClassVar

from ..exceptions import NoChannelLayer, UnhandledMessage
from ..layers.base import BaseChannelLayer
from ..layers.registry import DEFAULT_ALIAS, channel_layers
from ..mailbox import Mailbox, Message, Overflow
from ..type_defs import Event, Receive, Scope, Send
from .handlers import handler_name, layer_event, name_for
from .run import ConsumerRun, Runnable


class AsyncConsumer(Runnable):
    """Dispatches each message to the method named by its type.

    ``channel_layer_alias`` names a registered layer; None takes the one registered as ``"default"``
    if there is one, and otherwise the consumer has no layer. ``overflow`` says what happens to
    messages from the layer that find the consumer's mailbox full (see ``fast_channels.mailbox``).

    ``handlers`` lists the types of the messages that the layer may deliver, ``"chat.message"`` or
    ``"chat_message"``; None means each of the class's own async methods that take one message. What
    the base classes define is never among them, but for ``layer_reconnected``, which always is.
    """

    channel_layer_alias: ClassVar[str | None] = None
    overflow: ClassVar[Overflow] = "drop_newest"

    scope: Scope
    channel_name = ""  # its own channel; none without a layer, nor for a job

    _asgi_send: Send

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
        """An ASGI application; ``initkwargs`` go to each instance's ``__init__``."""
        return ConsumerApp(cls, initkwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._asgi_send = send
        self.bind_layer()
        if not self.has_layer:
            await ConsumerRun(self, Mailbox(capacity=1)).run(receive)
            return
        self.channel_name = await self.channel_layer.new_channel()
        try:
            mailbox = self.channel_layer.mailbox(self.channel_name, self.overflow)
            await ConsumerRun(self, mailbox).run(receive)
        finally:
            await self.channel_layer.close_channel(self.channel_name)

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

    @layer_event
    async def layer_reconnected(self, message: Message) -> None:
        """The layer was cut off from its broker, and messages of that time may be missing."""

    def bind_layer(self) -> None:
        """Set ``channel_layer``; ``InvalidChannelLayerError`` if the alias is not registered."""
        if self.channel_layer_alias is not None:
            self.channel_layer = channel_layers.require(self.channel_layer_alias)
        elif (layer := channel_layers.get(DEFAULT_ALIAS)) is not None:
            self.channel_layer = layer


class ConsumerApp:
    """A consumer class as an ASGI application: each connection gets an instance of its own.

    An object, not a function: Starlette calls a function as an endpoint, and an object as ASGI.
    """

    def __init__(self, consumer_class: type[AsyncConsumer], initkwargs: dict[str, Any]) -> None:
        self.consumer_class = consumer_class
        self.consumer_initkwargs = initkwargs

    def __repr__(self) -> str:
        return f"<ASGI app of {self.consumer_class.__qualname__}>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.consumer_class(**self.consumer_initkwargs)(scope, receive, send)
