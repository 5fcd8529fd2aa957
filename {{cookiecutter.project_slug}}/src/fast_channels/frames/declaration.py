"""What a consumer class declares: its frames, and which method handles which.

Invariants
- Each model of ``incoming`` has one handler, each handler's models are in ``incoming``, and what it may
  return is in ``outgoing``: else the class is not made, and a ``TypeError`` says what is wrong.
- A frame is told by its ``type`` alone, which has to be there; a ``type`` belongs to one model.
- A handler is no method that a message of the layer could call: it takes a model, not a dict.
"""

import inspect
import typing
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin, overload

from pydantic import BaseModel, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from ..consumer import json_text
from .models import RESERVED, ErrorFrame, Frame, FrameId, OkFrame, Refused
from .problems import NO_FRAMES, NOT_JSON, UNKNOWN_TYPE, refusal

C = TypeVar("C")
F = TypeVar("F", bound=Frame)
R = TypeVar("R", bound=BaseModel | None)

Models = tuple[type[BaseModel], ...]
Handler = Callable[[Any, Any], Coroutine[Any, Any, BaseModel | None]]


class handles(Generic[C, F, R]):  # noqa: N801 -- read as a decorator
    """Marks the method that handles the frames of one model, or of a union of some.

        @handles
        async def say(self, frame: Message) -> Said | None: ...

    The annotation of its argument names the models; what it returns is the reply to the frame, and
    None stands for ``ok``. A subclass that overrides it marks it again.
    """

    def __init__(self, method: Callable[[C, F], Coroutine[Any, Any, R]]) -> None:
        if not inspect.iscoroutinefunction(method):
            raise TypeError(f"@handles is for async methods, not {method!r:.100}")
        self.method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, instance: None, owner: object = None) -> "handles[C, F, R]": ...
    @overload
    def __get__(
        self, instance: C, owner: object = None
    ) -> Callable[[F], Coroutine[Any, Any, R]]: ...
    def __get__(self, instance: Any, owner: object = None) -> Any:
        return self if instance is None else partial(self.method, instance)


@dataclass(frozen=True)
class Declaration:
    """The frames of one consumer class. ``replies`` says what may answer each incoming model."""

    name: str
    incoming: tuple[type[Frame], ...]
    outgoing: Models
    handlers: dict[type[Frame], Handler]
    replies: dict[type[Frame], Models]
    adapter: TypeAdapter[Frame] | None  # None: nothing comes in

    @classmethod
    def of(cls, consumer: type, incoming: object, outgoing: object) -> "Declaration":
        name = consumer.__qualname__
        sent: Models = (*members(outgoing, f"{name}.outgoing"), OkFrame, ErrorFrame)
        received: tuple[type[Any], ...] = members(incoming, f"{name}.incoming")
        for model in received:
            if not issubclass(model, Frame):
                raise TypeError(
                    f"{name}.incoming: {model.__qualname__} must be a subclass of Frame"
                )
            if is_renamed(model.model_fields["id"], "id"):
                raise TypeError(f"{name}.incoming: {model.__qualname__}.id must be id on the wire")
        for where, models in (("incoming", received), ("outgoing", sent)):
            check_types(f"{name}.{where}", models)
        for model in sent:
            if RESERVED in model.model_json_schema(mode="serialization")["properties"]:
                raise TypeError(
                    f"{name}.outgoing: {model.__qualname__}.{RESERVED} is the runtime's word"
                )
        found = Handlers(name, received, sent)
        for attribute, marked in marked_methods(consumer):
            found.add(attribute, marked)
        adapter: TypeAdapter[Frame] | None = None
        if received:
            adapter = TypeAdapter(Annotated[Any, Tagged(received)])
        return cls(name, received, sent, found.by_model(), found.replies, adapter)

    def read(self, text: str) -> Frame:
        """The frame in ``text``; ``Refused`` if it is none of ``incoming``."""
        # No JSON, though Pydantic takes them; what only mentions them takes the long way.
        if ("NaN" in text or "Infinity" in text) and not is_strict_json(text):
            raise Refused(NOT_JSON, "not_json")
        if self.adapter is None:
            raise Refused(NO_FRAMES, "invalid")
        try:
            return self.adapter.validate_json(text)
        except ValidationError as error:
            raise refusal(error, self._names) from None

    @cached_property
    def sent(self) -> frozenset[type[BaseModel]]:
        return frozenset(self.outgoing)

    @cached_property
    def sent_types(self) -> frozenset[str]:
        """Each ``type`` of a frame that may leave by a group; the runtime's own do not."""
        return frozenset(one for model in self.outgoing[:-2] for one in types_of(model))

    @cached_property
    def _names(self) -> frozenset[str]:
        """All that a place in a frame may be called, unless the client chose the name."""
        return frozenset(names_in([model.model_json_schema() for model in self.incoming]))


class Handlers:
    """Finds a consumer's handlers by their annotations, and what is wrong with them."""

    def __init__(self, name: str, incoming: tuple[type[Frame], ...], outgoing: Models) -> None:
        self.name = name
        self.incoming = incoming
        self.outgoing = outgoing
        self.replies: dict[type[Frame], Models] = {}
        self._found: dict[type[Frame], tuple[str, Handler]] = {}

    def add(self, attribute: str, marked: "handles[Any, Any, Any]") -> None:
        where = f"{self.name}.{attribute}()"
        taken, returned = annotations_of(marked.method, where)
        replies = tuple(OkFrame if one is NoneType else one for one in returned)
        if wrong := [one for one in replies if one not in self.outgoing]:
            raise TypeError(f"{where} may return {listed(wrong)}, which {self.name}.outgoing lacks")
        for model in taken:
            if model not in self.incoming:
                raise TypeError(
                    f"{where} handles {listed([model])}, which {self.name}.incoming lacks"
                )
            if model in self._found:
                other = self._found[model][0]
                raise TypeError(f"{where} and {other}() both handle {listed([model])}")
            self._found[model] = (attribute, marked.method)
            self.replies[model] = replies

    def by_model(self) -> dict[type[Frame], Handler]:
        if missing := [model for model in self.incoming if model not in self._found]:
            raise TypeError(
                f"{self.name} has no handler for {listed(missing)} of its incoming frames: "
                f"mark an async method that takes it with @handles"
            )
        return {model: handler for model, (_, handler) in self._found.items()}


class Tagged:
    """A union of frames as Pydantic's schema. One that is made of annotations would need two members,
    and quotes the client's ``type`` in its error."""

    def __init__(self, models: Iterable[type[Frame]]) -> None:
        self.models = {one: model for model in models for one in types_of(model)}

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        types = ", ".join(self.models).replace("{", "{{").replace("}", "}}")
        return core_schema.tagged_union_schema(
            {one: handler.generate_schema(model) for one, model in self.models.items()},
            discriminator="type",
            custom_error_type=UNKNOWN_TYPE,
            custom_error_message=f"must be one of {types}",
        )


class _OnlyId(BaseModel):
    id: FrameId | None = None


def id_of(text: str | None) -> str | None:
    """The id of a frame, however wrong it is otherwise, for the error that answers it."""
    try:
        return None if text is None else _OnlyId.model_validate_json(text).id
    except ValidationError:
        return None


# What is read of the annotations


def members(union: object, where: str) -> tuple[type[Any], ...]:
    """The models of a union, which may have a name of its own, or be a single model, or None."""
    if union is None:
        return ()
    if get_origin(union) is Annotated:
        return members(get_args(union)[0], where)
    if get_origin(union) in (Union, UnionType):
        return tuple(one for part in get_args(union) for one in members(part, where))
    if (alias := getattr(union, "__value__", None)) is not None:
        return members(alias, where)
    if isinstance(union, type) and issubclass(union, BaseModel):
        return (union,)
    raise TypeError(f"{where} must be a Pydantic model or a union of them, not {union!r:.100}")


def check_types(where: str, models: Iterable[type[BaseModel]]) -> None:
    """``TypeError`` unless each ``type`` leads to one model."""
    seen: dict[str, type[BaseModel]] = {}
    for model in models:
        for one in types_of(model):
            if (other := seen.setdefault(one, model)) is not model:
                raise TypeError(f"{where}: {listed([other, model])} both have the type {one!r}")


def types_of(model: type[BaseModel]) -> tuple[str, ...]:
    """What ``type`` may be in its frames, mostly one word."""
    field = model.model_fields.get("type")
    types = get_args(field.annotation) if field and get_origin(field.annotation) is Literal else ()
    if (
        field is None
        or is_renamed(field, "type")
        or not types
        or any(type(one) is not str for one in types)
    ):
        raise TypeError(
            f'{model.__qualname__} needs a type that is a Literal of str, as in type: Literal["a"] = "a"'
        )
    return types


def is_renamed(field: FieldInfo, name: str) -> bool:
    """Whether it has another name on the wire; a generator of aliases mostly gives it its own."""
    aliases = (field.alias, field.validation_alias, field.serialization_alias)
    return any(one not in (None, name) for one in aliases)


def marked_methods(consumer: type) -> Iterator[tuple[str, "handles[Any, Any, Any]"]]:
    for name in dict.fromkeys(name for base in consumer.__mro__ for name in vars(base)):
        value = inspect.getattr_static(consumer, name)
        if isinstance(value, handles):
            yield name, value


def annotations_of(
    method: Callable[..., Any], where: str
) -> tuple[tuple[type[Any], ...], tuple[type[Any], ...]]:
    """The models that a handler takes, and what it may return, None as its type."""
    try:
        hints = typing.get_type_hints(method)
    except NameError as error:
        raise TypeError(f"{where}: its annotations cannot be resolved: {error}") from error
    parameters = list(inspect.signature(method).parameters)
    if len(parameters) != 2 or parameters[1] not in hints or "return" not in hints:
        raise TypeError(
            f"{where} must be annotated as (self, frame: Model) -> Reply, or -> None: {parameters}"
        )
    returned = hints["return"]
    parts = get_args(returned) if get_origin(returned) in (Union, UnionType) else (returned,)
    models = (one for part in parts if part is not NoneType for one in members(part, where))
    nothing = (NoneType,) if NoneType in parts else ()
    return members(hints[parameters[1]], where), (*models, *nothing)


def names_in(schema: object) -> Iterator[str]:
    """Names of properties, and the words that tell the members of a union apart."""
    if isinstance(schema, list):
        for part in schema:
            yield from names_in(part)
    elif isinstance(schema, dict):
        yield from schema.get("properties", {})
        if isinstance(word := schema.get("const"), str):
            yield word
        for part in schema.values():
            yield from names_in(part)


def is_strict_json(text: str) -> bool:
    try:
        json_text.decode(text)
    except ValueError:
        return False
    return True


def listed(models: Iterable[type]) -> str:
    return ", ".join(model.__qualname__ for model in models)
