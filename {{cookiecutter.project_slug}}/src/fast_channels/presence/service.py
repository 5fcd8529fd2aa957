"""Presence as an app uses it: one object for a layer and all its event loops, and a mixin for consumers.

presence = Presence(layer)
async with layer, presence:
    await presence.present("room.1", "user-7", {"name": "Ann"}, channel)
    for member in await presence.members("room.1"): ...
"""

import asyncio
import math
import uuid
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from ..consumer.base import AsyncConsumer
from ..layers.base import BaseChannelLayer
from ..layers.in_memory import InMemoryChannelLayer
from ..mailbox import Message
from ..messages import plain
from ..names import check_channel_name, check_group_name
from ..tasks import at_loop_end
from .lease import Settings
from .memory_rosters import MemoryRosters
from .process import Process
from .rosters import Member

MAX_KEY = 200  # bytes of UTF-8
TIMEOUT = 5.0  # seconds; in memory nothing takes so long


ProcessAndEnd = tuple[Process, AsyncGenerator[None, None]]  # and what ends it with its loop


class Presence:
    """Who is in which group, on any layer of this package.

    ``grace`` is how long after its last connection a key is still there, in seconds, so that a
    reconnection says nothing; ``lease``, in seconds, how long a process that was killed may go on to be
    there. ``max_members`` of a group, and ``max_info``, in bytes after serialization, bound what is kept.
    All processes of an app take the same values. ``ValueError`` for one that makes no sense.

    Open it after its layer, and close it before.
    """

    def __init__(
        self,
        layer: BaseChannelLayer,
        *,
        grace: float = 5.0,
        lease: float = 30.0,
        max_members: int = 20_000,
        max_info: int = 4096,
    ) -> None:
        for name, seconds, least in (("grace", grace, 0), ("lease", lease, 0.1)):
            if not least <= seconds < math.inf:
                raise ValueError(f"{name} must be {least} seconds or more, not {seconds!r}")
        for name, most in (("max_members", max_members), ("max_info", max_info)):
            if most < 1:
                raise ValueError(f"{name} must be at least 1, not {most!r}")
        self.layer = layer
        self.grace = grace
        self.lease = lease
        self.max_members = max_members
        self.max_info = max_info
        self._processes: dict[asyncio.AbstractEventLoop, ProcessAndEnd] = {}
        layer.parts[Presence] = self

    @classmethod
    def of(cls, layer: BaseChannelLayer) -> "Presence":
        """The one that was made for the layer last; one with the defaults, if none was."""
        found: Presence | None = layer.parts.get(Presence)
        return found or cls(layer)

    async def present(
        self, group: str, key: str, info: Message | None = None, *, channel: str
    ) -> None:
        """Say who the connection of ``channel`` is in a group, until the channel is closed.

        ``key`` is a str of 1 to 200 bytes, such as a user's id; many channels may be the same. ``info``, a
        dict, is what others see; of several connections' the one that was said last.
        A second call for the channel changes what the first one said. In an outage of the broker it returns
        after the layer's ``timeout``, and is made known when that is over.

        ``PresenceFull`` if the group has ``max_members``; ``MessageTooLarge`` for an info over ``max_info``;
        ``ChannelNotOwned`` for a channel that is not open in this event loop.
        """
        check_group_name(group)
        check_channel_name(channel)
        _check_key(key)
        # A copy of the sender's own: what it changes later is not what was said.
        said = plain({} if info is None else info)
        await self._process.room(group).present(key, said, channel)

    async def leave(self, group: str, channel: str) -> None:
        """End what ``present`` began, before the channel is closed; it is no error if nothing did."""
        check_group_name(group)
        if (room := self._process.rooms.get(group)) is not None:
            await room.leave(channel)

    async def members(
        self, group: str, *, count: int | None = None, after: str = ""
    ) -> list[Member]:
        """Who is there, in the order of the keys' bytes: all, or up to ``count`` behind a key.

        ``ChannelLayerUnavailable`` after the layer's ``timeout``, as from ``watch``.
        """
        check_group_name(group)
        if after:
            _check_key(after)
        most = self.max_members if count is None else count
        return await self._process.members(group, after, most)

    async def watch(self, group: str, channel: str) -> list[Member]:
        """Have the channel told who comes and goes, until it is closed; returns who is there now.

        It gets ``{"type": "presence.joined", "group": …, "key": …, "info": …, "connections": …,
        "members": …}``, where ``members`` is how many keys are there then, and the same with
        ``presence.left`` and, when info or connections are others, ``presence.updated``.

        The list has the channel's own key, if ``present`` has named one, and everybody whose ``present``
        had returned before that one did. It and the events read afterwards are the group, without a
        gap or a repetition; watching again withdraws events that were not read yet.
        """
        check_group_name(group)
        check_channel_name(channel)
        return await self._process.room(group).watch(channel)

    async def unwatch(self, group: str, channel: str) -> None:
        check_group_name(group)
        if (room := self._process.rooms.get(group)) is not None:
            room.unwatch(channel)

    async def open(self) -> None:
        """Nothing has to be started; what is used starts by itself."""

    async def aclose(self) -> None:
        """End what the running loop began. Its members have their grace, in case they come back elsewhere."""
        if (found := self._processes.get(asyncio.get_running_loop())) is not None:
            await found[1].aclose()

    async def __aenter__(self) -> "Presence":
        await self.open()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await self.aclose()

    # One process for each event loop

    @property
    def _process(self) -> Process:
        loop = asyncio.get_running_loop()
        if loop not in self._processes:
            for ended in [one for one in list(self._processes) if one.is_closed()]:
                self._processes.pop(ended, None)
            close = partial(self._close_process, loop)
            self._processes[loop] = (self._make_process(), at_loop_end(close))
        return self._processes[loop][0]

    def _make_process(self) -> Process:
        name = uuid.uuid4().hex[:16]
        settings = partial(Settings, self.grace, self.lease, self.max_members, self.max_info)
        layer = self.layer
        if isinstance(layer, InMemoryChannelLayer):
            rosters = layer.parts.setdefault(MemoryRosters, MemoryRosters())
            return Process(name, rosters, layer.local, settings(TIMEOUT))
        from ..layers.redis.layer import RedisLayer  # redis-py: only an app that uses it needs it
        from .redis_rosters import RedisRosters

        if not isinstance(layer, RedisLayer):
            raise TypeError(f"Presence works on the layers of fast_channels, not on {layer!r}")
        part = layer.loop_layer
        rosters = RedisRosters(part, self.lease)
        return Process(name, rosters, part.local, settings(part.config.timeout))

    async def _close_process(self, loop: asyncio.AbstractEventLoop) -> None:
        process, _ = self._processes.pop(loop)
        await process.aclose()


class PresenceMixin(AsyncConsumer):
    """Presence of a consumer's own connection. For arguments, results and errors see ``Presence``.

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


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise TypeError(f"key must be a str of 1 to {MAX_KEY} bytes, not {key!r:.100}")
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        raise ValueError(f"key must be valid Unicode, not {key!r:.100}") from None
    if not 0 < length <= MAX_KEY:
        raise ValueError(f"key must have 1 to {MAX_KEY} bytes of UTF-8, not {length}")
