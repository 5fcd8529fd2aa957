"""Presence for consumers: ``self.present``, ``self.watch`` and ``self.members``, of its own connection.

    class Room(PresenceMixin, AsyncJsonWebsocketConsumer):
        async def connect(self):
            await self.accept()
            here = await self.watch("room.1")
            await self.present("room.1", "user-7", {"name": "Ann"})

        async def presence_joined(self, message): ...
        async def presence_left(self, message): ...
        async def presence_updated(self, message): ...

However the consumer ends, its presence ends with its channel.
"""

from ..consumer.base import AsyncConsumer
from ..mailbox import Message
from .service import Member, Presence


class PresenceMixin(AsyncConsumer):
    """For arguments, results and errors see ``Presence``."""

    @property
    def presence(self) -> Presence:
        return Presence.of(self.channel_layer)

    async def present(self, group: str, key: str, info: Message | None = None) -> None:
        """Say who this connection is."""
        await self.presence.present(group, key, info, channel=self.channel_name)

    async def absent(self, group: str) -> None:
        """It is nobody any more."""
        await self.presence.leave(group, self.channel_name)

    async def members(
        self, group: str, *, count: int | None = None, after: str = ""
    ) -> list[Member]:
        return await self.presence.members(group, count=count, after=after)

    async def watch(self, group: str) -> list[Member]:
        return await self.presence.watch(group, self.channel_name)

    async def unwatch(self, group: str) -> None:
        await self.presence.unwatch(group, self.channel_name)
