"""The consumer of typed frames.

Invariants
- What a client sends never ends its socket: a binary frame, no JSON, a wrong model, a refusal, a broker that
  is out of reach are each answered with one ``error``. A bug of a handler still closes it, with 1011.
- No traceback reaches a client, nor the log for a client's fault, which is counted there at a bounded rate.
- A model is validated once, when it comes in, and made into JSON once, when it is sent: the members of a
  group pass that text on.
"""

import logging
from typing import Any, ClassVar

from pydantic import BaseModel

from ..consumer import AsyncWebsocketConsumer
from ..consumer.handlers import layer_event
from ..exceptions import ChannelFull, ChannelLayerUnavailable, MessageTooLarge, UnhandledMessage
from ..layers.throttled import ThrottledWarning
from ..mailbox import Message
from ..type_defs import Receive, Scope, Send
from .declaration import Declaration, id_of
from .models import ErrorFrame, Frame, OkFrame, Refused
from .problems import NOT_JSON

logger = logging.getLogger(__name__)

wrong_frames = ThrottledWarning(
    logger, "%d frame(s) answered with an error, the last by %s: %s: %.200r"
)

# What a handler need not catch: the layer refused, and the client may try again.
BUSY = Refused("The server is busy; please try again.", "busy")
CUT_OFF = Refused("The server is cut off for a moment; please try again.", "unavailable")
TOO_LARGE = Refused("This is too large to be passed on.", "too_large")


class FrameConsumer(AsyncWebsocketConsumer):
    """A WebSocket whose frames are Pydantic models.

        class ChatConsumer(FrameConsumer):
            incoming = Message | JobStart
            outgoing = Said | JobStarted

            @handles
            async def say(self, frame: Message) -> None: ...

            @handles
            async def start(self, frame: JobStart) -> JobStarted: ...

    ``incoming`` is a subclass of ``Frame`` or a union of some, ``outgoing`` one of any models; each has a
    ``type`` of its own, a ``Literal``. ``models.py`` says how frames look on the wire. A subclass without
    ``incoming`` and ``outgoing`` is a base for others. ``TypeError`` for a declaration that does not fit.
    """

    incoming: ClassVar[Any] = None
    outgoing: ClassVar[Any] = None
    declaration: ClassVar[Declaration]

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if cls.incoming is not None or cls.outgoing is not None:
            cls.declaration = Declaration.of(cls, cls.incoming, cls.outgoing)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not hasattr(self, "declaration"):
            raise TypeError(
                f"{type(self).__qualname__} declares neither incoming nor outgoing frames"
            )
        await super().__call__(scope, receive, send)

    # To override

    async def before_frame(self) -> None:
        """Called for each frame, before it is read; raise ``Refused`` to answer it with that.

        The place of a rate limit, which so counts wrong frames, too.
        """

    def frame_text(self, message: Message) -> str:
        """The JSON to send of a message that ``frame_message`` made; ``with_fields`` adds to it."""
        text: str = message["text"]
        return text

    # To call

    async def send_frame(self, frame: BaseModel) -> None:
        """Send a model of ``outgoing``; ``TypeError`` for another one."""
        await self.send(text_data=self._as_text(frame))

    # Frames that come in

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        frame = None
        try:
            await self.before_frame()
            if text_data is None:
                raise Refused(NOT_JSON, "not_json")
            frame = self.declaration.read(text_data)
            reply = await self.declaration.handlers[type(frame)](self, frame)
        except Refused as refusal:
            await self._answer_error(refusal, text_data, frame)
        except ChannelFull:
            await self._answer_error(BUSY, text_data, frame)
        except ChannelLayerUnavailable:
            await self._answer_error(CUT_OFF, text_data, frame)
        except MessageTooLarge:
            await self._answer_error(TOO_LARGE, text_data, frame)
        else:
            if frame.id is not None:
                text = OK if reply is None else self._as_text(reply)
                await self.send(text_data=with_fields(text, reply_to=frame.id))
            elif reply is not None:
                await self.send_frame(reply)

    # Frames of the layer

    @layer_event
    async def deliver_frame(self, message: Message) -> None:
        """Pass on what ``frame_message`` made, sent to a group or to this consumer's channel."""
        kind, text = message.get("frame"), message.get("text")
        known = type(kind) is str and kind in self.declaration.sent_types
        if not known or type(text) is not str:
            name = type(self).__qualname__
            raise UnhandledMessage(f"{name}.outgoing has no frame of the type {kind!r:.100}")
        await self.send(text_data=self.frame_text(message))

    # Internals

    def _as_text(self, frame: BaseModel) -> str:
        if type(frame) not in self.declaration.sent:
            raise TypeError(
                f"{type(self).__qualname__}.outgoing lacks {type(frame).__qualname__}, which is to be sent"
            )
        return as_json(frame)

    async def _answer_error(self, refusal: Refused, text: str | None, frame: Frame | None) -> None:
        wrong_frames.add(type(self).__qualname__, refusal.code, refusal.detail)
        error = ErrorFrame(code=refusal.code, detail=refusal.detail, errors=refusal.errors)
        frame_id = id_of(text) if frame is None else frame.id
        answer = as_json(error)
        if frame_id is not None:
            answer = with_fields(answer, reply_to=frame_id)
        await self.send(text_data=answer)


def frame_message(frame: BaseModel) -> Message:
    """A message of the layer that gives ``frame`` to the clients of each consumer that gets it.

        await self.channel_layer.group_send("room.lobby", frame_message(Said(text="Hello")))

    It holds the frame's JSON, as ``text``, and its type, as ``frame``.
    """
    kind = getattr(frame, "type", None)
    if not isinstance(kind, str):
        raise TypeError(f"{type(frame).__qualname__} has no type, so it is no frame")
    return {"type": "deliver.frame", "frame": kind, "text": as_json(frame)}


def as_json(frame: BaseModel) -> str:
    return frame.model_dump_json(by_alias=True)


def with_fields(text: str, **fields: str) -> str:
    """The JSON of a frame with more fields, whose values need no escapes: ids, positions, names of groups."""
    more = "".join(f'"{name}":"{value}",' for name, value in fields.items())
    return f"{{{more}{text[1:]}"


OK = as_json(OkFrame())
