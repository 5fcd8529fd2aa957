"""What rooms, names and texts may be, for sockets and HTTP alike."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, StringConstraints, TypeAdapter, ValidationError


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must hold printable characters only")
    return text


Room = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,50}$")]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=50),
    AfterValidator(_printable),
]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class RoomMessage(BaseModel):
    """What is said in a room."""

    name: Name
    text: Text


class Visitor(BaseModel):
    """Who enters which room."""

    room: Room
    name: Name


TEXT: TypeAdapter[str] = TypeAdapter(Text)


def group_of(room: str) -> str:
    return f"room.{room}"


def describe(error: ValidationError) -> str:
    """The first problem in one sentence, fit to be shown to a person."""
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"])) or "text"
    return f"{field}: {first['msg']}"
