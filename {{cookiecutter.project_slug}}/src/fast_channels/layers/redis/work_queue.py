"""The queue layer towards workers and operators: each call checks names and goes to the loop's peer."""

import abc

from ..jobs import DeadLetter, Delivery, Depth
from .base import RedisLayer
from .named import NamedChannels


class RedisWorkQueue(RedisLayer):
    """An ``InspectableWorkQueue``, which documents the methods."""

    @property
    @abc.abstractmethod
    def _named(self) -> NamedChannels:
        """The named channels of the running loop."""

    async def lease(self, channel: str, count: int = 1) -> list[Delivery]:
        self.require_valid_channel_name(channel)
        return await self._named.lease(channel, count)

    async def renew(self, delivery: Delivery) -> bool:
        return await self._named.renew(delivery)

    async def acknowledge(self, *deliveries: Delivery) -> None:
        await self._named.acknowledge(deliveries)

    async def release(self, delivery: Delivery) -> None:
        await self._named.release(delivery)

    async def reject(
        self, delivery: Delivery, *, delay: float = 0.0, final: bool = False, reason: str = ""
    ) -> None:
        await self._named.reject(delivery, delay=delay, final=final, reason=reason)

    async def depth(self, channel: str) -> Depth:
        self.require_valid_channel_name(channel)
        return await self._named.depth(channel)

    async def dead_letters(
        self, channel: str, count: int = 100, after: str = ""
    ) -> list[DeadLetter]:
        self.require_valid_channel_name(channel)
        return await self._named.dead.read(channel, count, after)

    async def replay(self, channel: str, letter: DeadLetter) -> bool:
        self.require_valid_channel_name(channel)
        return await self._named.dead.replay(channel, letter)

    async def discard(self, channel: str, letter: DeadLetter) -> bool:
        self.require_valid_channel_name(channel)
        return await self._named.dead.discard(channel, letter)
