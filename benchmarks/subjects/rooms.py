"""One interface to whatever can send a message to all members of a group.

A peer is used as its documentation shows, at default settings. What a member receives is what the
library hands out: a dict from the layers and our yardsticks; encoded JSON, once per member and not
parsed, from the broadcasters.
"""

import abc
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from importlib import import_module
from typing import Any

from .layers import LAYERS, make_layer

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]

# Subject -> module and class. Imported when it is used: a process holds one subject.
ROOMS = {
    **dict.fromkeys(LAYERS, ("rooms", "LayerRooms")),
    "litestar": ("litestar_rooms", "LitestarRooms"),
    "broadcaster": ("broadcaster_rooms", "BroadcasterRooms"),
    "raw": ("raw", "RawRooms"),
    "floor": ("floor", "FloorRooms"),
}


class Rooms(abc.ABC):
    """The groups of one process."""

    positions = False  # members join with positions

    def __init__(self, subject: str, kind: str, url: str, arguments: Message) -> None:
        self.subject, self.kind, self.url, self.arguments = subject, kind, url, arguments

    @abc.abstractmethod
    async def open(self) -> None:
        """Connect."""

    @abc.abstractmethod
    async def join(self, group: str) -> Receive:
        """Add a member; returns how to wait for its next message."""

    @abc.abstractmethod
    async def publish(self, group: str, message: Message) -> None:
        """Send to all members."""

    async def inbox(self) -> tuple[str, Receive]:
        """An address to which another process can send, and how to receive there."""
        return "inbox", await self.join("inbox")

    async def send(self, address: str, message: Message) -> None:
        await self.publish(address, message)

    def key(self, received: Any) -> Hashable:
        """What tells this message from others."""
        number: int = received["n"]
        return number

    def key_of(self, sent: Message) -> Hashable:
        """The same of a message that is sent."""
        number: int = sent["n"]
        return number

    def dropped(self) -> int | None:
        """How many messages the subject says that it dropped; None if it does not count."""
        return None


class LayerRooms(Rooms):
    async def open(self) -> None:
        self.layer = make_layer(self.subject, self.kind, self.url, **self.arguments)

    async def join(self, group: str) -> Receive:
        channel, receive = await self.inbox()
        if self.positions:
            await self.layer.join(group, channel)
        else:
            await self.layer.group_add(group, channel)
        return receive

    async def publish(self, group: str, message: Message) -> None:
        await self.layer.group_send(group, message)

    async def inbox(self) -> tuple[str, Receive]:
        channel = await self.layer.new_channel()
        return channel, partial(self.layer.receive, channel)

    async def send(self, address: str, message: Message) -> None:
        await self.layer.send(address, message)

    def dropped(self) -> int | None:
        return getattr(self.layer, "dropped", None)


async def open_rooms(options: Message) -> Rooms:
    """The subject's rooms, connected."""
    module, name = ROOMS[options["subject"]]
    room_class = getattr(import_module(f".{module}", __package__), name)
    rooms: Rooms = room_class(
        options["subject"], options["kind"], options["url"], options.get("arguments", {})
    )
    await rooms.open()
    return rooms
