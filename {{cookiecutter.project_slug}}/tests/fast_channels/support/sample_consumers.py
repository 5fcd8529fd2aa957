"""Consumers that more than one test module drives."""

from typing import Any, ClassVar

from fast_channels.consumer import AsyncConsumer, AsyncWebsocketConsumer
from fast_channels.exceptions import StopConsumer
from fast_channels.testing import ApplicationCommunicator, WebsocketCommunicator

SCOPE = {"type": "test"}
LEAVE = {"type": "test.leave"}


class Recorder(AsyncConsumer):
    """Answers each event and each layer message with what it has got."""

    final_type = "test.leave"

    async def test_frame(self, message: dict[str, Any]) -> None:
        await self.send({"type": "frame", "number": message["number"]})

    async def chat_message(self, message: dict[str, Any]) -> None:
        await self.send({"type": "message", "number": message["number"]})

    async def test_name(self, message: dict[str, Any]) -> None:
        layer = self.channel_layer if self.has_layer else None
        await self.send({"type": "name", "channel": self.channel_name, "layer": layer})

    async def test_leave(self, message: dict[str, Any]) -> None:
        await self.send({"type": "left"})
        raise StopConsumer


def frame(number: int) -> dict[str, Any]:
    return {"type": "test.frame", "number": number}


async def channel_of(client: ApplicationCommunicator) -> str:
    await client.send_input({"type": "test.name"})
    channel = (await client.receive_output())["channel"]
    assert isinstance(channel, str)
    return channel


class Obedient(AsyncWebsocketConsumer):
    """Calls what the test gives: the frame names the call, `calls` holds it."""

    calls: ClassVar[dict[str, Any]] = {}

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            await self.calls[text_data or ""](self)
        except (RuntimeError, ValueError, TypeError) as error:
            await self.send(f"{type(error).__name__}: {error}")


def calling(**calls: Any) -> type[Obedient]:
    return type("Calling", (Obedient,), {"calls": calls})


class Member(AsyncWebsocketConsumer):
    """A member of a group by attribute and of another by call; notes each disconnect()."""

    groups = ("by.attribute",)
    codes: ClassVar[list[int]] = []

    async def connect(self) -> None:
        await self.channel_layer.group_add("by.call", self.channel_name)
        await self.accept()

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        if text_data == "fail":
            raise ZeroDivisionError
        if text_data == "stop":
            raise StopConsumer
        if text_data == "close":
            await self.close(4001)

    async def note_fail(self, message: dict[str, Any]) -> None:
        raise ZeroDivisionError

    async def disconnect(self, code: int) -> None:
        self.codes.append(code)


async def connected(consumer: type[AsyncWebsocketConsumer] = Member) -> WebsocketCommunicator:
    client = WebsocketCommunicator(consumer, "/")
    assert await client.connect() == (True, None)
    return client
