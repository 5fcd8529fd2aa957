"""The chat's sockets, and the job that the worker runs."""

import asyncio
import contextlib
import time
import uuid
from typing import Any
from urllib.parse import parse_qs

from pydantic import ValidationError

from fast_channels.consumer import AsyncConsumer, AsyncJsonWebsocketConsumer
from fast_channels.exceptions import ChannelFull, ChannelLayerUnavailable
from fast_channels.layers import channel_layers

from .protocol import TEXT, RoomMessage, Visitor, describe, group_of
from .settings import get_settings

# Close codes: the page asks for another room or name, or comes back by itself.
REFUSED = 4000
TRY_AGAIN_LATER = 1013
JOB_STEPS = 20


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """One person in one room: ``/ws/chat/{room}?name=...``"""

    channel_layer_alias = "default"
    room = ""
    name = ""

    async def connect(self) -> None:
        await self.accept()
        query = parse_qs(self.scope["query_string"].decode("latin-1"))
        try:
            visitor = Visitor(
                room=self.scope["path_params"]["room"], name=query.get("name", [""])[0]
            )
        except ValidationError as error:
            await self.close(REFUSED, describe(error))
            return
        try:
            await self.channel_layer.group_add(group_of(visitor.room), self.channel_name)
        except ChannelLayerUnavailable:
            await self.close(TRY_AGAIN_LATER, "The server is cut off for a moment.")
            return
        self.room, self.name = visitor.room, visitor.name
        await self.send_json({"type": "welcome", "room": self.room, "name": self.name})
        await self.announce("chat.joined")

    async def disconnect(self, code: int) -> None:
        if self.room:
            await self.announce("chat.left")

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Answer what cannot be understood or done with an error; the socket stays open."""
        try:
            content = await self.decode_json(text_data or "")
        except ValueError:
            await self.send_error("A frame must be JSON in text.")
            return
        try:
            await self.receive_json(content)
        except ValidationError as error:
            await self.send_error(describe(error))
        except ChannelLayerUnavailable:
            await self.send_error("The server is cut off for a moment; please try again.")
        except ChannelFull:
            await self.send_error("The server is busy; please try again.")

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        match content:
            case {"type": "message", "text": text}:
                await self.tell_room(chat_message(self.name, TEXT.validate_python(text)))
            case {"type": "job.start"}:
                await self.start_job()
            case _:
                await self.send_error("The type must be message (with a text) or job.start.")

    async def start_job(self) -> None:
        job = uuid.uuid4().hex
        await channel_layers["jobs"].send(
            "jobs",
            {"type": "job.run", "job": job, "steps": JOB_STEPS, "reply_to": self.channel_name},
        )
        await self.send_json({"type": "job.progress", "job": job, "done": 0, "total": JOB_STEPS})

    # From the room and from the worker

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send_json({**event, "type": "message", "room": self.room})

    async def chat_joined(self, event: dict[str, Any]) -> None:
        await self.send_json({"type": "joined", "name": event["name"]})

    async def chat_left(self, event: dict[str, Any]) -> None:
        await self.send_json({"type": "left", "name": event["name"]})

    async def job_progress(self, event: dict[str, Any]) -> None:
        await self.send_json(event)

    async def job_done(self, event: dict[str, Any]) -> None:
        await self.send_json(event)

    # Helpers

    async def announce(self, event_type: str) -> None:
        """Tell the room who comes or goes; while there is no broker, nobody can be told."""
        with contextlib.suppress(ChannelLayerUnavailable):
            await self.tell_room({"type": event_type, "name": self.name})

    async def tell_room(self, event: dict[str, Any]) -> None:
        await self.channel_layer.group_send(group_of(self.room), event)

    async def send_error(self, detail: str) -> None:
        await self.send_json({"type": "error", "detail": detail})


class JobConsumer(AsyncConsumer):
    """Runs in the worker; tells the socket that asked how far it is."""

    channel_layer_alias = "default"

    async def job_run(self, message: dict[str, Any]) -> None:
        for done in range(1, message["steps"]):
            await asyncio.sleep(get_settings().job_step_seconds)  # stands for the real work
            with contextlib.suppress(ChannelLayerUnavailable):  # the next report makes it good
                await self.report(message, {"type": "job.progress", "done": done})
        await self.report(message, {"type": "job.done"})

    async def report(self, message: dict[str, Any], event: dict[str, Any]) -> None:
        event |= {"job": message["job"], "total": message["steps"]}
        await self.channel_layer.send(message["reply_to"], event)


def chat_message(name: str, text: str) -> dict[str, Any]:
    """The event that ``ChatConsumer.chat_message`` handles, wherever it is published from."""
    return {"type": "chat.message", "name": name, "text": text, "at": time.time()}


def from_outside(message: RoomMessage) -> dict[str, Any]:
    return chat_message(message.name, message.text)
