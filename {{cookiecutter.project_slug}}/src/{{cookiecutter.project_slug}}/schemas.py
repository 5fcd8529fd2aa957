"""What comes from outside, over sockets and HTTP: rooms, names, texts, frames; and why one is refused.

Invariants: an error is one sentence and repeats nothing of what came, which may be a secret, or unfit
for JSON; a field has one rule wherever its name stands, which OpenAPI and errors tell with the same words.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from .visible import readable, visible_line

Room = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_-]{1,50}$", description="1 to 50 letters, digits, - or _")
]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=50),
    AfterValidator(visible_line),
    Field(description="1 to 50 visible characters in one line"),
]
Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=2000),
    AfterValidator(readable),
    Field(description="1 to 2000 characters, some of them visible"),
]
# The client's own name for a frame: the answer to it carries the same.
FrameId = Annotated[
    str | None,
    Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="1 to 64 letters, digits, - or _"),
]


class Visitor(BaseModel):
    """Who enters which room."""

    room: Room
    name: Name


class RoomMessage(BaseModel):
    """What is said in a room over HTTP."""

    name: Name
    text: Text


class Refusal(BaseModel):
    """Why a request was refused, in one sentence."""

    detail: str


class Frame(BaseModel):
    """What a browser sends. Each subclass is a kind of its own, told by its ``type``."""

    id: FrameId = None


class Message(Frame):
    type: Literal["message"]
    text: Text


class JobStart(Frame):
    type: Literal["job.start"]


# Every kind of frame that is declared above; the type tells them apart.
KINDS: Any = reduce(or_, Frame.__subclasses__())
FRAMES: TypeAdapter[Frame] = TypeAdapter(Annotated[KINDS, Field(discriminator="type")])

MODELS: list[type[BaseModel]] = [Visitor, RoomMessage, *Frame.__subclasses__()]
EXPECTED = {
    name: field.description for model in MODELS for name, field in model.model_fields.items()
} | {"type": " or ".join(FRAMES.json_schema()["discriminator"]["mapping"])}


class Refused(Exception):
    """Why something is not done, in one sentence for the person who asked for it."""


def read_visitor(parameters: Mapping[str, str]) -> Visitor:
    """``Refused`` without a good room and name."""
    try:
        return Visitor.model_validate(parameters)
    except ValidationError as error:
        raise Refused(describe(error.errors())) from None


def read_frame(text: str) -> Frame:
    """``Refused`` for what is no frame."""
    try:
        return FRAMES.validate_json(text)
    except ValidationError as error:
        raise Refused(describe(error.errors())) from None


def id_of(text: str) -> str | None:
    """The id of a frame, however wrong it is otherwise, for the error that answers it."""
    try:
        return Frame.model_validate_json(text).id
    except ValidationError:
        return None


def describe(errors: Sequence[Any]) -> str:
    """The first of Pydantic's ``errors`` in a sentence that a person may read, without the input."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return "What is sent must be JSON, as text."
    # The outer parts of the place, such as "body" or a frame's type, tell a person nothing.
    field = next((part for part in reversed(first["loc"]) if isinstance(part, str)), "")
    if first["type"].startswith("union_tag_"):
        field = "type"
    if expected := EXPECTED.get(field):
        return f"{field}: must be {expected}"
    return f"{field}: {first['msg']}" if field else "What is sent must be a JSON object."
