"""Rosters in Redis, over the connections of a Redis layer: one script for each operation.

Invariant: all keys of a roster share a slot, and the registry is in another one.
"""

import asyncio
import os
import struct
from collections.abc import Callable
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

from ..exceptions import ChannelLayerUnavailable, UndecodableMessage
from ..layers.redis.client.commands import PUBLISH, Commands, Script
from ..layers.redis.loop_layer import LoopLayer
from ..mailbox import Message
from .rosters import (
    EXPIRES,
    STALE,
    WATCHED,
    Holds,
    Lease,
    Listener,
    Notice,
    Page,
    Seen,
    State,
    Written,
    check_size,
)

UNREACHED = 0.1  # seconds to wait for a connection: whoever asks tries again, others wait behind it
CONFIRMED = 2  # leases after which a confirmation is written once more
CHANGE = struct.Struct(">BIII")  # kind, connections, and the lengths of key and info
KINDS = range(1, 4)  # come, left, seen otherwise: which the keys themselves say

_directory = Path(__file__).with_name("lua")
_renew = Script(_directory / "renew.lua")
_hold = Script(_directory / "hold.lua")
_state = Script(_directory / "state.lua")
_page = Script(_directory / "page.lua")


class RedisRosters:
    """Info is as the layer's serializer has it, and encrypted if that encrypts: bound to group and key."""

    def __init__(self, layer: LoopLayer, lease: float) -> None:
        self._layer = layer
        self._topics = layer.config.topics
        self._lease_ms = int(lease * 1000)
        self._expires = EXPIRES * self._lease_ms
        self._serializer = copy(layer.config.serializer)
        self._serializer.expiry = None  # info is no message: it holds as long as its connection
        self._serializer.random_prefix_length = 0  # and equal ones need not differ

    # The registry

    async def renew(
        self, process: str, deadline: int | None, *, lease: float, may_sweep: bool
    ) -> Lease | None:
        told = "" if deadline is None else deadline
        return await self._renew(process, told, int(lease * 1000), int(may_sweep), 0)

    async def resign(self, process: str, *, within: float) -> None:
        await self._renew(process, "", int(within * 1000), 0, 1)

    async def _renew(self, process: str, *values: int | str) -> Lease | None:
        registry = self._topics.registry
        commands = await self._commands(registry)
        reply = await _renew.run(commands, (registry,), process, *values, self._expires)
        if not reply:
            return None
        deadline, lapsed, age, *processes = reply
        names = frozenset(one.decode() for one in processes)
        return Lease(int(deadline), bool(lapsed), age / 1000, names)

    # The rosters

    async def write(
        self, group: str, process: str, number: int, holds: Holds, *, limit: int, after: int = 0
    ) -> Written:
        values: list[bytes | str | int] = []
        for key, hold in holds.items():
            values += (key, hold.live, hold.lingering, hold.info, int(hold.fresh))
        numbers = (number, after, os.urandom(8).hex(), limit, self._expires)
        outcome, *rest = await self._run(_hold, group, PUBLISH, process, *numbers, *values)
        if not rest:
            return Written(outcome.decode(), [])
        epoch, version, *no_room = rest
        return Written(outcome.decode(), [key.decode() for key in no_room], epoch, int(version))

    async def state(self, group: str, process: str, *, watch: bool) -> State:
        lease = self._lease_ms
        times = (WATCHED * lease if watch else 0, CONFIRMED * lease, STALE * lease)
        reply = await self._run(_state, group, process, os.urandom(8).hex(), *times, self._expires)
        epoch, version, *writes = reply
        rows = list(zip(writes[::3], writes[1::3], writes[2::3], strict=True))
        numbers = {other.decode(): int(number) for other, number, _ in rows}
        stale = frozenset(other.decode() for other, _, is_stale in rows if is_stale)
        return State(epoch, int(version), numbers, stale)

    async def page(self, group: str, after: str, count: int, *, of: str = "") -> Page:
        reply = await self._run(_page, group, after, count, of)
        epoch, version, more, end, *rows = reply
        members = [
            Seen(key.decode(), shown, info)
            for key, shown, info in zip(rows[::3], rows[1::3], rows[2::3], strict=True)
        ]
        return Page(epoch, int(version), members, end.decode() if more else None)

    async def _run(self, script: Script, group: str, *values: bytes | str | int) -> Any:
        roster = self._topics.roster(group)
        keys = (roster, f"{roster}:keys", f"{roster}:about")
        return await script.run(await self._commands(roster), keys, *values)

    async def _commands(self, key: str) -> Commands:
        """Where it lives; ``ChannelLayerUnavailable`` soon if that cannot be reached now."""
        if self._layer.closed:
            raise ChannelLayerUnavailable("The layer was closed")
        commands = self._layer.topology.commands_of_key(key)
        if commands.connection is None:
            await commands.connected(asyncio.get_running_loop().time() + UNREACHED)
        return commands

    # Notices

    async def listen(self, group: str, listener: Listener) -> None:
        def hear(data: bytes) -> None:
            listener(parse_notice(data))

        await self._layer.subscribe(self._topics.roster(group), hear)

    def ignore(self, group: str, listener: Listener) -> None:
        self._layer.ignore(self._topics.roster(group))

    def when_doubtful(self, look: Callable[[], None]) -> Callable[[], None]:
        self._layer.openings.append(look)
        return partial(self._layer.openings.remove, look)

    # Info

    def seal(self, group: str, key: str, info: Message, most: int) -> bytes:
        packed = self._serializer.pack(info)
        check_size(packed, most)
        if self._serializer.binds:
            return self._serializer.bind(packed, self._place(group, key))
        return self._serializer.serialize(info)

    def unseal(self, group: str, key: str, sealed: bytes) -> Message:
        if self._serializer.binds:
            return self._serializer.deserialize_at(sealed, self._place(group, key))
        return self._serializer.deserialize(sealed)

    def _place(self, group: str, key: str) -> bytes:
        return f"{self._topics.roster(group)}\0{key}".encode()


def parse_notice(data: bytes) -> Notice:
    """``UndecodableMessage`` for what none of us publishes."""
    try:
        epoch, version, packed = data.split(b" ", 2)
        changes, start = [], 0
        while start < len(packed):
            kind, shown, key_length, info_length = CHANGE.unpack_from(packed, start)
            key_start = start + CHANGE.size
            info_start = key_start + key_length
            start = info_start + info_length
            if kind not in KINDS or start > len(packed):
                raise ValueError("it is cut off, or of another kind")
            key = packed[key_start:info_start].decode()
            changes.append(Seen(key, shown, packed[info_start:start]))
        return Notice(epoch, int(version), changes)
    except (ValueError, struct.error) as error:
        raise UndecodableMessage(f"No notice of a roster: {error}") from error
