"""What comes from outside, over sockets and HTTP: rooms, names, texts, frames; and why one is refused.

Invariants: an error is one sentence and repeats nothing of what came, which may be a secret, or unfit
for JSON; OpenAPI and errors tell a rule with the same words (``EXPECTED``).
"""

from collections.abc import Sequence
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

EXPECTED = {
    "room": "1 to 50 letters, digits, - or _",
    "name": "1 to 50 visible characters in one line",
    "text": "1 to 2000 characters, some of them visible",
    "id": "1 to 64 letters, digits, - or _",
}

Room = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,50}$"),
    Field(description=EXPECTED["room"]),
]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=50),
    AfterValidator(visible_line),
    Field(description=EXPECTED["name"]),
]
Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=2000),
    AfterValidator(readable),
    Field(description=EXPECTED["text"]),
]
# The client's own name for a frame: the answer to it carries the same.
FrameId = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$"),
    Field(description=EXPECTED["id"]),
]


class RoomMessage(BaseModel):
    """What is said in a room."""

    name: Name
    text: Text


class Visitor(BaseModel):
    """Who enters which room."""

    room: Room
    name: Name


class Refusal(BaseModel):
    """Why a request was refused, in one sentence."""

    detail: str


# Frames of the browser, told apart by their type


class Frame(BaseModel):
    id: FrameId | None = None


class Message(Frame):
    type: Literal["message"]
    text: Text


class JobStart(Frame):
    type: Literal["job.start"]


Incoming = Message | JobStart
INCOMING: TypeAdapter[Incoming] = TypeAdapter(Annotated[Incoming, Field(discriminator="type")])
TYPES = " or ".join(INCOMING.json_schema()["discriminator"]["mapping"])


def id_of(text: str) -> str | None:
    """The id of a frame that is otherwise wrong, for the error that answers it."""
    try:
        return Frame.model_validate_json(text).id
    except ValidationError:
        return None


def group_of(room: str) -> str:
    return f"room.{room}"


def describe(errors: Sequence[Any]) -> str:
    """The first of Pydantic's `errors` in a sentence that a person may read, without the input."""
    first = errors[0]
    match first["type"]:
        case "json_invalid":
            return "What is sent must be JSON, as text."
        case "union_tag_invalid" | "union_tag_not_found":
            return f"type: must be {TYPES}"
    # The outer parts of the place, such as "body" or a frame's type, tell a person nothing.
    field = next((part for part in reversed(first["loc"]) if isinstance(part, str)), "")
    if field in EXPECTED:
        return f"{field}: must be {EXPECTED[field]}"
    return f"{field}: {first['msg']}" if field else "What is sent must be a JSON object."
