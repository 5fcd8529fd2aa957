"""What a consumer of typed frames may declare: each mistake is a TypeError when the class is made."""

from typing import Annotated, Any, Literal, TypeAlias

import pytest
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from fast_channels.frames import Frame, FrameConsumer, OkFrame, handles, typescript
from fast_channels.testing import WebsocketCommunicator

from ..support.sample_frames import Chat, Fail, Message, Move, Moved, Said, Typing

Both: TypeAlias = Annotated[Message | Move, Field(discriminator="type")]


class Plain(BaseModel):
    type: Literal["plain"] = "plain"


class Untyped(Frame):
    text: str


class Loose(Frame):
    type: str = "loose"


class Numbered(Frame):
    type: Literal[1] = 1


class Renamed(Frame):
    type: Literal["renamed"] = Field(default="renamed", alias="kind")


class OtherId(Frame):
    type: Literal["other"] = "other"
    id: str | None = Field(default=None, alias="ref")


class RenamedOutside(BaseModel):
    type: Literal["renamed"] = Field(default="renamed", serialization_alias="kind")


class Twin(Frame):
    type: Literal["message"] = "message"


class Forger(BaseModel):
    type: Literal["forger"] = "forger"
    reply_to: str


class ForgerByAlias(BaseModel):
    type: Literal["forger"] = "forger"
    answers: str = Field(serialization_alias="reply_to")


class OwnError(BaseModel):
    type: Literal["error"] = "error"


class Deaf:
    """No handler."""


class HandlesMessage:
    @handles
    async def on_message(self, frame: Message) -> Said | None: ...


class HandlesItTwice(HandlesMessage):
    @handles
    async def again(self, frame: Message | Move) -> None: ...


class Unannotated:
    @handles
    async def on_message(self, frame, other=None):  # type: ignore[no-untyped-def]
        ...


class NoReturn:
    @handles
    async def on_message(self, frame: Message):  # type: ignore[no-untyped-def]
        ...


class Unresolved:
    @handles
    async def on_message(self, frame: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821


class ReturnsText:
    @handles
    async def on_message(self, frame: Message) -> str: ...  # type: ignore[arg-type, empty-body]


class ReturnsPlain:
    @handles
    async def on_message(self, frame: Message) -> Plain: ...  # type: ignore[empty-body]


class Forgotten(HandlesMessage):
    async def on_message(self, frame: Message) -> Said | None: ...


@pytest.mark.parametrize(
    ("base", "incoming", "outgoing", "error"),
    [
        (Deaf, Message, None, "has no handler for Message"),
        (HandlesMessage, Message | Move, Said, "has no handler for Move"),
        (Forgotten, Message, Said, "has no handler for Message"),
        (HandlesItTwice, Message | Move, Said, "both handle Message"),
        (HandlesMessage, None, Said, r"on_message\(\) handles Message, which \S+.incoming lacks"),
        (HandlesMessage, Message, None, r"may return Said, which \S+.outgoing lacks"),
        (ReturnsPlain, Message, Said, r"may return Plain, which \S+.outgoing lacks"),
        (ReturnsText, Message, Said, "must be a Pydantic model or a union"),
        (Unannotated, Message, Said, r"must be annotated as \(self, frame: Model\)"),
        (NoReturn, Message, Said, r"must be annotated as \(self, frame: Model\)"),
        (Unresolved, Message, Said, "annotations cannot be resolved: name 'Missing'"),
        (Deaf, str, None, "incoming must be a Pydantic model or a union"),
        (Deaf, Message | None, None, "incoming must be a Pydantic model or a union"),
        (Deaf, [Message], None, "incoming must be a Pydantic model or a union"),
        (Deaf, Plain, None, "Plain must be a subclass of Frame"),
        (Deaf, OtherId, None, "OtherId.id must be id on the wire"),
        (Deaf, Untyped, None, "Untyped needs a type that is a Literal"),
        (Deaf, Loose, None, "Loose needs a type that is a Literal"),
        (Deaf, Numbered, None, "Numbered needs a type that is a Literal"),
        (Deaf, Renamed, None, "Renamed needs a type that is a Literal"),
        (Deaf, None, RenamedOutside, "RenamedOutside needs a type that is a Literal"),
        (Deaf, Message | Twin, None, "Message, Twin both have the type 'message'"),
        (Deaf, None, Message | Twin, "Message, Twin both have the type 'message'"),
        (Deaf, None, OwnError, "OwnError, ErrorFrame both have the type 'error'"),
        (Deaf, None, Forger, "Forger.reply_to is the runtime's word"),
        (Deaf, None, ForgerByAlias, "ForgerByAlias.reply_to is the runtime's word"),
    ],
)
def test_what_does_not_fit_is_said(base: type, incoming: Any, outgoing: Any, error: str) -> None:
    """In one sentence that names the class, the method and the model."""
    with pytest.raises(TypeError, match=error) as caught:
        type("Mine", (base, FrameConsumer), {"incoming": incoming, "outgoing": outgoing})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("union", [Both, Message | Move, Annotated[Message, "one"] | Move])
def test_a_union_may_have_a_name(union: Any) -> None:
    """And annotations, as Pydantic takes them."""

    class Mine(HandlesMessage, FrameConsumer):
        incoming = union
        outgoing = Said | Moved

        @handles
        async def move(self, frame: Move) -> Moved: ...  # type: ignore[empty-body]

    assert Mine.declaration.incoming == (Message, Move)
    assert Mine.declaration.replies == {Message: (Said, OkFrame), Move: (Moved,)}


async def test_models_may_have_other_names_outside() -> None:
    """As by a generator of aliases: camelCase on the wire, snake_case in Python; errors name what came."""

    class Camel(Frame):
        model_config = ConfigDict(alias_generator=to_camel)

        type: Literal["camel"] = "camel"
        full_name: str

    class CamelConsumer(FrameConsumer):
        incoming = outgoing = Camel

        @handles
        async def echo(self, frame: Camel) -> Camel:
            return frame

    async with WebsocketCommunicator(CamelConsumer, "/") as client:
        await client.send_json_to({"type": "camel", "id": "c", "fullName": "Ann"})
        answer = {"type": "camel", "reply_to": "c", "id": "c", "fullName": "Ann"}
        assert await client.receive_json_from() == answer
        await client.send_json_to({"type": "camel"})
        assert (await client.receive_json_from())["detail"] == "fullName: Field required"
    assert "fullName: string;" in typescript(CamelConsumer)


def test_a_handler_must_be_async() -> None:
    """It is said where it is marked."""
    with pytest.raises(TypeError, match="for async methods"):

        @handles
        def not_async(self: Any, frame: Message) -> None: ...  # type: ignore[arg-type]


async def test_a_subclass_may_handle_otherwise() -> None:
    """By a method of the same name, which can call the one that it replaces."""

    class Lower(Chat):
        groups = ()

        @handles
        async def fail(self, frame: Fail) -> Said | None:
            said = await super().fail(frame)
            return said and Said(text=said.text.lower())

    assert Lower.fail is not Chat.fail
    async with WebsocketCommunicator(Lower, "/") as client:
        await client.send_json_to({"type": "fail", "how": "ABC"})
        assert (await client.receive_json_from())["text"] == "abc"


def test_a_base_declares_nothing() -> None:
    """Handlers may stand in a base of several consumers."""

    class Base(FrameConsumer):
        @handles
        async def typing(self, frame: Typing) -> None: ...

    class Whole(Base):
        incoming = Typing

    assert not hasattr(Base, "declaration")
    assert Whole.declaration.incoming == (Typing,)


async def test_a_class_without_frames_is_not_served() -> None:
    """The error names it, before anything is accepted."""

    class Empty(FrameConsumer):
        pass

    client = WebsocketCommunicator(Empty, "/")
    with pytest.raises(TypeError, match="Empty declares neither"):
        await client.connect()
