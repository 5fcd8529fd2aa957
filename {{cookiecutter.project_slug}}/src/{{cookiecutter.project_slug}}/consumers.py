"""The chat's sockets: one ``ChatConsumer`` for each.

Who says something is told by ``client``, an id that the server gives to a connection; a name is only
what its bearer chose. A frame may carry an ``id`` of the browser's own: the answer to it, an echo or
an error, carries the same.
"""

import contextlib
import time
import uuid
from typing import Any

from pydantic import ValidationError
from starlette.requests import HTTPConnection

from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.exceptions import ChannelFull, ChannelLayerUnavailable
from fast_channels.layers import channel_layers

from .limits import BURST_SECONDS, Slots, TokenBucket, get_room_limit
from .schemas import (
    INCOMING,
    Incoming,
    JobStart,
    Message,
    RoomMessage,
    Visitor,
    describe,
    group_of,
    id_of,
)
from .settings import get_settings

# Close codes: the page asks for another room or name, or comes back by itself.
REFUSED = 4000
TRY_AGAIN_LATER = 1013

TOO_MANY_ROOMS = "Too many rooms were opened from your address; please try again later."
JOB_STEPS = 20


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """One person in one room: ``/ws/chat/{room}?name=...``"""

    channel_layer_alias = "default"
    # What the room and the worker may call; no other method can be reached by a message.
    handlers = frozenset({"chat.message", "chat.joined", "chat.left", "job.progress", "job.done"})
    room = ""
    name = ""

    async def connect(self) -> None:
        settings = get_settings()
        self.client = uuid.uuid4().hex
        rate = settings.frames_per_second
        self.pace = TokenBucket(rate, rate * BURST_SECONDS)
        self.jobs = Slots(settings.jobs_per_socket, 4 * settings.job_lease_seconds)
        await self.accept()
        try:
            await self.enter(HTTPConnection(self.scope))
        except ValidationError as error:
            await self.close(REFUSED, describe(error.errors()))
        except ChannelLayerUnavailable:
            await self.close(TRY_AGAIN_LATER, "The server is cut off for a moment.")

    async def enter(self, connection: HTTPConnection) -> None:
        visitor = Visitor(
            room=connection.path_params["room"], name=connection.query_params.get("name", "")
        )
        host = connection.client.host if connection.client else None
        if not get_room_limit().admit(host, visitor.room):
            await self.close(REFUSED, TOO_MANY_ROOMS)
            return
        await self.channel_layer.group_add(group_of(visitor.room), self.channel_name)
        self.room, self.name = visitor.room, visitor.name
        await self.send_json(
            {"type": "welcome", "room": self.room, "name": self.name, "client": self.client}
        )
        await self.announce("chat.joined")

    async def disconnect(self, code: int) -> None:
        if self.room:
            await self.announce("chat.left")

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Answer what cannot be understood or done with an error; the socket stays open."""
        text = text_data or ""
        if not self.pace.take():
            await self.send_error("That was too much at once; please wait a moment.", id_of(text))
            return
        try:
            frame = INCOMING.validate_json(text)
        except ValidationError as error:
            await self.send_error(describe(error.errors()), id_of(text))
            return
        try:
            await self.obey(frame)
        except ChannelLayerUnavailable:
            await self.send_error("The server is cut off for a moment; please try again.", frame.id)
        except ChannelFull:
            await self.send_error("The server is busy; please try again.", frame.id)

    async def obey(self, frame: Incoming) -> None:
        match frame:
            case Message():
                event = chat_message(self.name, frame.text, client=self.client, id=frame.id)
                await self.tell_room(event)
            case JobStart():
                await self.start_job(frame)

    async def start_job(self, frame: JobStart) -> None:
        job = uuid.uuid4().hex
        if not self.jobs.take(job):
            await self.send_error("Your jobs have to end before you start another one.", frame.id)
            return
        task = {"job": job, "steps": JOB_STEPS, "reply_to": self.channel_name}
        try:
            await channel_layers["jobs"].send("jobs", {"type": "job.run", **task})
        except (ChannelFull, ChannelLayerUnavailable):
            self.jobs.free(job)
            raise
        started = {"type": "job.progress", "job": job, "done": 0, "total": JOB_STEPS}
        await self.send_json(started | {"id": frame.id})

    # From the room and from the worker

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send_json({**event, "type": "message", "room": self.room})

    async def chat_joined(self, event: dict[str, Any]) -> None:
        await self.send_json({**event, "type": "joined"})

    async def chat_left(self, event: dict[str, Any]) -> None:
        await self.send_json({**event, "type": "left"})

    async def job_progress(self, event: dict[str, Any]) -> None:
        self.jobs.heard(event["job"])
        await self.send_json(event)

    async def job_done(self, event: dict[str, Any]) -> None:
        self.jobs.free(event["job"])
        await self.send_json(event)

    # Helpers

    async def announce(self, event_type: str) -> None:
        """Tell the room who comes or goes; while there is no broker, nobody can be told."""
        with contextlib.suppress(ChannelLayerUnavailable):
            await self.tell_room({"type": event_type, "name": self.name, "client": self.client})

    async def tell_room(self, event: dict[str, Any]) -> None:
        await self.channel_layer.group_send(group_of(self.room), event)

    async def send_error(self, detail: str, frame_id: str | None) -> None:
        await self.send_json({"type": "error", "detail": detail, "id": frame_id})


def chat_message(name: str, text: str, *, client: str | None, id: str | None) -> dict[str, Any]:
    """The event that ``ChatConsumer.chat_message`` handles, wherever it is published from."""
    return {
        "type": "chat.message",
        "name": name,
        "text": text,
        "at": time.time(),
        "client": client,
        "id": id,
    }


def from_outside(message: RoomMessage) -> dict[str, Any]:
    """What no connection says has no ``client``: the page marks it."""
    return chat_message(message.name, message.text, client=None, id=None)
