"""The chat: one ``ChatConsumer`` for each socket, and what a room is told.

Who says something is told by ``client``, an id that the server gives to a connection; a name is only
what its bearer chose. A frame may carry an ``id`` of the browser's own: the answer to it, an echo or
an error, carries the same.
"""

import contextlib
import time
import uuid
from functools import singledispatchmethod
from typing import Any

from starlette.requests import HTTPConnection

from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.exceptions import ChannelFull, ChannelLayerUnavailable
from fast_channels.layers import channel_layers

from .jobs import progress, queue_job
from .limits import BURST_SECONDS, TOO_MANY_ROOMS, Slots, TokenBucket, may_name
from .schemas import Frame, JobStart, Message, Refused, id_of, read_frame, read_visitor
from .settings import get_settings

# Close codes: the page asks for another room or name, or comes back by itself.
REFUSED = 4000
TRY_AGAIN_LATER = 1013


def group_of(room: str) -> str:
    return f"room.{room}"


async def tell_room(room: str, frame: dict[str, Any]) -> None:
    """Send a frame to each socket in the room, from wherever this is called."""
    event = {"type": "room.frame", "frame": frame}
    await channel_layers["default"].group_send(group_of(room), event)


async def say(
    room: str, name: str, text: str, *, client: str | None = None, id: str | None = None
) -> None:
    """Tell a room what somebody says; what no connection says has no ``client``."""
    who = {"client": client, "name": name}
    what = {"text": text, "at": time.time(), "id": id}
    await tell_room(room, {"type": "message", "room": room, **who, **what})


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """One person in one room: ``/ws/chat/{room}?name=...``"""

    channel_layer_alias = "default"
    # What the room and the worker may call; no other method can be reached by a message.
    handlers = frozenset({"room.frame", "job.progress", "job.done"})
    room = ""
    name = ""

    async def connect(self) -> None:
        settings = get_settings()
        self.client = uuid.uuid4().hex
        rate = settings.frames_per_second
        self.pace = TokenBucket(rate, rate * BURST_SECONDS)
        self.jobs = Slots(settings.jobs_per_socket, 4 * settings.job_lease_seconds)
        await self.accept()
        connection = HTTPConnection(self.scope)
        try:
            visitor = read_visitor({**connection.query_params, **connection.path_params})
            if not may_name(visitor.room, connection):
                raise Refused(TOO_MANY_ROOMS)
            await self.enter(visitor.room, visitor.name)
        except Refused as refusal:
            await self.close(REFUSED, str(refusal))
        except ChannelLayerUnavailable:
            await self.close(TRY_AGAIN_LATER, "The server is cut off for a moment.")

    async def enter(self, room: str, name: str) -> None:
        await self.channel_layer.group_add(group_of(room), self.channel_name)
        self.room, self.name = room, name
        welcome = {"type": "welcome", "room": room, "name": name, "client": self.client}
        await self.send_json(welcome)
        await self.announce("joined")

    async def disconnect(self, code: int) -> None:
        if self.room:
            await self.announce("left")

    async def announce(self, what: str) -> None:
        """Tell the room who comes or goes; while there is no broker, nobody can be told."""
        with contextlib.suppress(ChannelLayerUnavailable):
            await tell_room(self.room, {"type": what, "name": self.name, "client": self.client})

    # From the browser: one method for each class of frames

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Answer what cannot be understood or done with an error; the socket stays open."""
        text = text_data or ""
        try:
            if not self.pace.take():
                raise Refused("That was too much at once; please wait a moment.")
            await self.handle(read_frame(text))
        except Refused as refusal:
            await self.send_error(str(refusal), text)
        except ChannelLayerUnavailable:
            await self.send_error("The server is cut off for a moment; please try again.", text)
        except ChannelFull:
            await self.send_error("The server is busy; please try again.", text)

    async def send_error(self, detail: str, text: str) -> None:
        await self.send_json({"type": "error", "detail": detail, "id": id_of(text)})

    @singledispatchmethod
    async def handle(self, frame: Frame) -> None:
        """Do what a frame asks for: the method below that takes its class is called."""
        raise NotImplementedError(f"No method of {type(self).__name__} takes {frame!r}")

    @handle.register
    async def send_message(self, frame: Message) -> None:
        await say(self.room, self.name, frame.text, client=self.client, id=frame.id)

    @handle.register
    async def start_job(self, frame: JobStart) -> None:
        job = uuid.uuid4().hex
        if not self.jobs.take(job):
            raise Refused("Your jobs have to end before you start another one.")
        try:
            await queue_job(job, reply_to=self.channel_name)
        except (ChannelFull, ChannelLayerUnavailable):
            self.jobs.free(job)
            raise
        await self.send_json({**progress(job, 0), "id": frame.id})

    # From the room and from the worker

    async def room_frame(self, event: dict[str, Any]) -> None:
        await self.send_json(event["frame"])

    async def job_progress(self, event: dict[str, Any]) -> None:
        self.jobs.heard(event["job"])
        await self.send_json(event)

    async def job_done(self, event: dict[str, Any]) -> None:
        self.jobs.free(event["job"])
        await self.send_json(event)
