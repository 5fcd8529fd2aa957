"""Typed frames: a room in which people say something and roll dice."""

from typing import Literal

from pydantic import BaseModel, Field

from fast_channels.frames import Frame, FrameConsumer, Refused, frame_message, handles


class Say(Frame):
    """Tell the room."""

    type: Literal["say"] = "say"
    text: str = Field(min_length=1, max_length=2000, description="What is said.")


class Roll(Frame):
    """Roll a die."""

    type: Literal["roll"] = "roll"
    sides: int = Field(default=6, ge=2, le=100)


class Said(BaseModel):
    type: Literal["said"] = "said"
    text: str


class Rolled(BaseModel):
    type: Literal["rolled"] = "rolled"
    value: int


class RoomConsumer(FrameConsumer):
    """A room for everybody."""

    groups = ("room",)
    incoming = Say | Roll
    outgoing = Said | Rolled

    @handles
    async def say(self, frame: Say) -> None:
        await self.channel_layer.group_send("room", frame_message(Said(text=frame.text)))

    @handles
    async def roll(self, frame: Roll) -> Rolled:
        if frame.sides % 2:
            raise Refused("There is no such die.", code="no_die")
        return Rolled(value=frame.sides // 2)
