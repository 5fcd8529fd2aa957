"""A consumer of typed frames, with models of every shape that documents and types are made of."""

import asyncio
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from fast_channels.exceptions import ChannelFull, ChannelLayerUnavailable, MessageTooLarge
from fast_channels.frames import Frame, FrameConsumer, Refused, frame_message, handles


class Mood(StrEnum):
    GOOD = "good"
    BAD = "bad"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Place(BaseModel):
    """Where it was said. A doc that ends a comment: */ and <b>looks like HTML</b>."""

    at: tuple[float, float]
    inside: "Place | None" = None


class Message(Frame):
    """What somebody says."""

    type: Literal["message"] = "message"
    text: str = Field(min_length=1, max_length=2000, description="What is said.")
    mood: Mood = Mood.GOOD
    place: Place | None = None
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    marks: dict[str, int] = Field(default={})
    anything: Any = None
    words: list[str] = Field(default=[], max_length=1000)

    @field_validator("text")
    @classmethod
    def polite(cls, text: str) -> str:
        if "damn" in text:
            raise ValueError("must be polite")
        return text


class Move(Frame):
    """One model of two types, which takes nothing that it does not know."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["move.left", "move.right"]
    steps: int = Field(default=1, ge=1, le=10, alias="how far")


class Fail(Frame):
    type: Literal["fail"] = "fail"
    how: str


class Typing(Frame):
    """Somebody types: sent, and passed on, by one model."""

    type: Literal["typing"] = "typing"
    since: datetime | None = None
    price: Decimal = Decimal(1)


class Said(BaseModel):
    type: Literal["said"] = "said"
    text: str
    place: Place | None = None


class Moved(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: Literal["moved"] = "moved"
    to: int


class Unknown(BaseModel):
    """No consumer has it."""

    type: Literal["unknown"] = "unknown"


FAILURES = {"full": ChannelFull, "cut": ChannelLayerUnavailable, "large": MessageTooLarge}


class Chat(FrameConsumer):
    """One person in one room.

    In two paragraphs.
    """

    groups = ("chat",)
    incoming = Message | Move | Fail | Typing
    outgoing = Said | Moved | Typing

    @handles
    async def say(self, frame: Message) -> None:
        said = Said(text=frame.text, place=frame.place)
        await self.channel_layer.group_send("chat", frame_message(said))

    @handles
    async def move(self, frame: Move) -> Moved:
        return Moved(to=frame.steps if frame.type == "move.right" else -frame.steps)

    @handles
    async def fail(self, frame: Fail) -> Said | None:
        if frame.how in FAILURES:
            raise FAILURES[frame.how]("no one is to read this")
        if frame.how == "refuse":
            raise Refused("Not today.", code="not_today")
        if frame.how == "late":
            await asyncio.sleep(0)
        return Said(text=frame.how) if frame.how != "nothing" else None

    @handles
    async def typing(self, frame: Typing) -> None:
        await self.send_frame(frame)
