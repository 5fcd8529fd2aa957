"""What a consumer's class lets in from outside.

That is, which of its methods a message of the layer may call, since a sender to a group can name any type;
and which arguments a class without an ``__init__`` of its own takes.

Invariants
- A message calls nothing that the framework's classes define, overridden or not, except what they mark as
  a ``layer_event``; no name that is private or of the consumer's protocol: ``websocket.*`` and ``http.*``
  are the server's words alone. Where a class declares ``handlers``, nothing else; otherwise its async
  methods that take one message.
- What is refused is counted and logged at a bounded rate, and ends nothing; under a communicator it raises.
- What ``consumer`` itself defines (``scope``, ``groups``) is no argument, nor is a method, a property or a
  private name; so no argument changes what a consumer does by itself.
"""

import functools
import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

from ..exceptions import UnhandledMessage
from ..layers.throttled import ThrottledWarning
from ..type_defs import Event

if sys.version_info >= (3, 14):
    import annotationlib

logger = logging.getLogger(__name__)

PACKAGE = __name__.partition(".")[0]
CONSUMERS = __name__.rpartition(".")[0]
HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])
# Types that a class remembers; of the same method there are as many as the dots in its name allow.
MOST_TYPES = 1024

# A test is to see what production only counts; the communicators set it for the application they run.
strict: ContextVar[bool] = ContextVar("fast_channels_strict", default=False)

refusals = ThrottledWarning(logger, "%d message(s) of the layer refused, the last: %s")


def layer_event(method: HandlerT) -> HandlerT:
    """Marks a method of a framework's class that messages of the layer may call, overridden or not.

    Whoever can send to the consumer can then call it, with what fields they like. A method of which it is
    False is for something else, and takes no message.
    """
    vars(method)["is_layer_event"] = True
    return method


@functools.lru_cache(maxsize=1024)
def handler_name(message_type: str) -> str:
    """``"chat.message"`` → ``"chat_message"``; ``UnhandledMessage`` if it could name a private method."""
    if message_type.startswith(("_", ".")):
        raise UnhandledMessage(f"A message type must not start with _ or .: {message_type!r:.200}")
    return message_type.replace(".", "_")


def name_for(message: Event) -> str:
    message_type = message.get("type")
    if not isinstance(message_type, str):
        raise UnhandledMessage(f"A message needs a type, a str, to be handled: {message!r:.200}")
    return handler_name(message_type)


def refuse(refusal: UnhandledMessage) -> None:
    """Count what cannot be handled; raise it where a test runs the application."""
    if strict.get():
        raise refusal
    refusals.add(refusal)


class LayerHandlers:
    """The handlers of one consumer class that messages of the layer may call, computed once."""

    def __init__(self, consumer_class: type, declared: object, final_type: str) -> None:
        self._class_name = consumer_class.__qualname__
        self._protocol = f"{final_type.partition('.')[0]}_"  # the beginning of its handlers' names
        members = [item for one in _ours(consumer_class, PACKAGE) for item in _members(one).items()]
        events = {name for name, value in members if getattr(value, "is_layer_event", False)}
        self._framework = {name for name, _ in members} - events
        self._of_class = frozenset(dir(consumer_class))
        self._declared = declared is not None
        found = self._found(consumer_class) if declared is None else self._checked(declared)
        self._open = events.union(found)
        self.types: set[str] = set()  # those seen that name one of them: no more is to be asked

    def require(self, consumer: object, message: Event) -> None:
        """``UnhandledMessage`` unless ``message`` may be dispatched to ``consumer``."""
        name = name_for(message)
        if name in self._open:
            if len(self.types) < MOST_TYPES:
                self.types.add(message["type"])
            return
        if name in self._framework or name.startswith(self._protocol):
            reason = f"{name}() is not for messages of the layer"
        elif self._declared:
            reason = "it is not among the declared handlers"
        elif name not in self._of_class and (
            not hasattr(consumer, name) or _is_handler(getattr(consumer, name))
        ):
            return  # dispatch() knows more than its methods say, or it is an instance's own
        else:
            reason = f"{name} is no async method that takes a message"
        raise UnhandledMessage(f"{message['type']!r:.200} to {self._class_name}: {reason}")

    def _found(self, consumer_class: type) -> Iterator[str]:
        for name in self._of_class - self._framework:
            if not name.startswith(("_", self._protocol)):
                value = inspect.getattr_static(consumer_class, name)
                if _is_handler(value) and _takes_a_message(value):
                    yield name

    def _checked(self, declared: object) -> frozenset[str]:
        if isinstance(declared, str) or not isinstance(declared, Iterable):
            raise ValueError(
                f"{self._class_name}.handlers must be a collection of message types, not {declared!r}"
            )
        names = frozenset(map(handler_name, declared))
        if wrong := sorted(names & self._framework):
            raise ValueError(
                f"{self._class_name}.handlers must not name what its base classes define: {wrong}"
            )
        return names


def _is_handler(value: object) -> bool:
    """Plain functions must be async, or wrap one that is; of other callables this cannot be told."""
    value = getattr(value, "__func__", value)  # of a method, class method or static method
    if getattr(value, "is_layer_event", None) is False:
        return False
    if inspect.isfunction(value):
        return inspect.iscoroutinefunction(inspect.unwrap(value))
    return callable(value) and not isinstance(value, type)


def _takes_a_message(value: Any) -> bool:
    # Whatever has no __get__ stays a plain object in its class, and gets no self.
    gets_self = hasattr(type(value), "__get__") and not isinstance(value, staticmethod)
    arguments = (None, None) if gets_self else (None,)
    function: Callable[..., Any] = getattr(value, "__func__", value)
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # it has none, as what is written in C
        return True
    return True


@functools.lru_cache(maxsize=1024)
def arguments_of(consumer_class: type) -> frozenset[str]:
    """What the class and its bases outside ``consumer`` annotate or set."""
    ours = _ours(consumer_class, CONSUMERS)
    own = [
        item for one in consumer_class.__mro__ if one not in ours for item in _members(one).items()
    ]
    names = {n for n, value in own if not n.startswith("_") and not hasattr(value, "__get__")}
    return frozenset(names.difference(*map(_members, ours)))


def _ours(consumer_class: type, package: str) -> list[type]:
    bases = consumer_class.__mro__
    return [one for one in bases if one is object or f"{one.__module__}.".startswith(f"{package}.")]


def _members(of: type) -> dict[str, Any]:
    """What a class itself annotates or sets; None for what it only annotates."""
    if sys.version_info >= (3, 14):  # what is imported for a type checker only has no value there
        annotated = annotationlib.get_annotations(of, format=annotationlib.Format.FORWARDREF)
    else:
        annotated = inspect.get_annotations(of)
    return {**dict.fromkeys(annotated), **vars(of)}
