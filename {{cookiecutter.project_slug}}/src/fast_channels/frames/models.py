"""What every frame has, and the two frames that the runtime itself sends.

A frame is a JSON object in one text message of the socket. The wire, both ways:

=============  ==============================================================================
``type``       which model it is
``id``         in a client's frame, if the client wants an answer: its own name for the frame
``reply_to``   in a server's frame, only and always if it answers a frame: the ``id`` of that
=============  ==============================================================================

Invariants
- A frame with a good ``id`` is answered once: by the model that its handler returned, by ``ok`` if that
  was None, or by ``error``. One without is answered by its handler's model or an error, without ``reply_to``.
- No other frame has a ``reply_to``: nothing that is sent to a group can pass for an answer.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..exceptions import FastChannelsError

RESERVED = "reply_to"

FrameId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Frame(BaseModel):
    """What a client sends. A subclass declares ``type``, a ``Literal`` that no other of its union has.

    A number that is no finite one is refused; a model that is nested in a frame says so for itself.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    id: FrameId | None = Field(
        default=None,
        description="The client's own name for the frame; the answer has it as reply_to.",
    )


class Problem(BaseModel):
    """What is wrong with one place of a frame."""

    loc: list[str | int] = Field(
        description="The way to it, as of Pydantic; * stands for a name that the client chose."
    )
    msg: str = Field(description="A sentence for a person.")
    type: str = Field(description="Pydantic's name for the kind of error.")


class OkFrame(BaseModel):
    """The frame was handled, and there is nothing else to say."""

    type: Literal["ok"] = "ok"


class ErrorFrame(BaseModel):
    """The frame was not understood or not done; the socket stays open."""

    type: Literal["error"] = "error"
    code: str = Field(
        description="For a program: not_json, invalid, busy, unavailable, too_large, or the app's own."
    )
    detail: str = Field(description="For a person, in one sentence.")
    errors: list[Problem] = Field(default=[], description="The places of an invalid frame.")


class Refused(FastChannelsError):
    """Raised by a handler: why a frame is not done. ``detail`` is for a person, ``code`` for a program."""

    def __init__(self, detail: str, code: str = "refused", errors: list[Problem] | None = None):
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.errors = errors or []
