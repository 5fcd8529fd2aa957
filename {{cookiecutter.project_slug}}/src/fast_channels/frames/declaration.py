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
from functools import cached_property
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, GetPydanticSchema, TypeAdapter, ValidationError
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


def handles(
    method: Callable[[C, F], Coroutine[Any, Any, R]],
) -> Callable[[C, F], Coroutine[Any, Any, R]]:
    """Marks the method that handles the frames of one model, or of a union of some.

        @handles
        async def say(self, frame: Message) -> Said | None: ...

    The annotation of its argument names the models; what it returns is the reply to the frame, and
    None stands for ``ok``. A subclass that overrides it marks it again.
    """
    if not inspect.iscoroutinefunction(method):
        raise TypeError(f"@handles is for async methods, not {method!r:.100}")
    vars(method).update(handles_frames=True, is_layer_event=False)
    return method


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
            where = f"{name}.incoming: {model.__qualname__}"
            if not issubclass(model, Frame):
                raise TypeError(f"{where} must be a subclass of Frame")
            if is_renamed(model.model_fields["id"], "id"):
                raise TypeError(f"{where}.id must be id on the wire")
        check_types(f"{name}.incoming", received)
        check_types(f"{name}.outgoing", sent)
        for model in sent:
            if RESERVED in model.model_json_schema(mode="serialization")["properties"]:
                where = f"{name}.outgoing: {model.__qualname__}"
                raise TypeError(f"{where}.{RESERVED} is the runtime's word")
        found = handlers_of(consumer, received, sent)
        handlers = {model: found[model][0] for model in received}
        replies = {model: found[model][2] for model in received}
        return cls(name, received, sent, handlers, replies, reader_of(received))

    def read(self, text: str) -> Frame:
        """The frame in ``text``; ``Refused`` if it is none of ``incoming``."""
        if "NaN" in text or "Infinity" in text:  # no JSON, though Pydantic takes them
            try:
                json_text.decode(text)
            except ValueError:
                raise Refused(NOT_JSON, "not_json") from None
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


def handlers_of(
    consumer: type, incoming: tuple[type[Frame], ...], outgoing: Models
) -> dict[type[Frame], tuple[Handler, str, Models]]:
    """Of each model: its handler, the name of that, and what it may reply."""
    name = consumer.__qualname__
    found: dict[type[Frame], tuple[Handler, str, Models]] = {}
    for attribute, method in marked_methods(consumer):
        where = f"{name}.{attribute}()"
        taken, replies = annotations_of(method, where)
        if wrong := [one for one in replies if one not in outgoing]:
            raise TypeError(f"{where} may return {listed(wrong)}, which {name}.outgoing lacks")
        for model in taken:
            if model not in incoming:
                raise TypeError(f"{where} handles {listed([model])}, which {name}.incoming lacks")
            if model in found:
                other = found[model][1]
                raise TypeError(f"{where} and {other}() both handle {listed([model])}")
            found[model] = (method, attribute, replies)
    if missing := [model for model in incoming if model not in found]:
        raise TypeError(
            f"{name} has no handler for {listed(missing)} of its incoming frames: "
            f"mark an async method that takes it with @handles"
        )
    return found


def reader_of(models: tuple[type[Frame], ...]) -> TypeAdapter[Frame] | None:
    """What reads a union of frames. One that is made of annotations would need two members, and quotes the
    client's ``type`` in its error."""
    by_type = {one: model for model in models for one in types_of(model)}
    types = ", ".join(by_type).replace("{", "{{").replace("}", "}}")

    def union(source: object, handler: Any) -> CoreSchema:
        return core_schema.tagged_union_schema(
            {one: handler.generate_schema(model) for one, model in by_type.items()},
            discriminator="type",
            custom_error_type=UNKNOWN_TYPE,
            custom_error_message=f"must be one of {types}",
        )

    return TypeAdapter(Annotated[Any, GetPydanticSchema(union)]) if models else None


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
    types: tuple[object, ...] = ()
    if field and get_origin(field.annotation) is Literal and not is_renamed(field, "type"):
        types = get_args(field.annotation)
    words = tuple(one for one in types if type(one) is str)
    if not words or words != types:
        raise TypeError(
            f'{model.__qualname__} needs a type that is a Literal of str, as in type: Literal["a"] = "a"'
        )
    return words


def is_renamed(field: FieldInfo, name: str) -> bool:
    """Whether it has another name on the wire; a generator of aliases mostly gives it its own."""
    aliases = (field.alias, field.validation_alias, field.serialization_alias)
    return any(one not in (None, name) for one in aliases)


def marked_methods(consumer: type) -> Iterator[tuple[str, Handler]]:
    for name in dict.fromkeys(name for base in consumer.__mro__ for name in vars(base)):
        value = inspect.getattr_static(consumer, name)
        if getattr(value, "handles_frames", False):
            yield name, value


def annotations_of(
    method: Callable[..., Any], where: str
) -> tuple[tuple[type[Any], ...], tuple[type[Any], ...]]:
    """The models that a handler takes, and those that may answer: ``OkFrame`` for None."""
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
    replies = [
        one for part in parts for one in ((OkFrame,) if part is NoneType else members(part, where))
    ]
    return members(hints[parameters[1]], where), tuple(replies)


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


def listed(models: Iterable[type]) -> str:
    return ", ".join(model.__qualname__ for model in models)
