"""The Lua scripts, each with one typed caller. A script's own header documents its keys and values."""

import hashlib
from pathlib import Path

from redis.exceptions import NoScriptError

from .link import Reply
from .topology import Commands

SOURCES = Path(__file__).with_name("lua")


class Script:
    """Called by its digest; sent whole only to a server that does not know it yet."""

    def __init__(self, name: str) -> None:
        self._source = (SOURCES / f"{name}.lua").read_text(encoding="utf-8")
        # Redis names a script by its SHA-1; nothing here depends on that being secure.
        self._digest = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    async def run(
        self,
        server: Commands,
        keys: list[str],
        *values: bytes | str | int,
        replicated: bool = False,
    ) -> Reply:
        """``replicated`` waits until a replica has what the script wrote."""
        arguments = (len(keys), *keys, *values)
        try:
            return await server.execute("EVALSHA", self._digest, *arguments, replicated=replicated)
        except NoScriptError:
            return await server.execute("EVAL", self._source, *arguments, replicated=replicated)


_publish = Script("publish")
_enqueue = Script("enqueue")
_lease = Script("lease")
_renew = Script("renew")
_acknowledge = Script("acknowledge")
_give_back = Script("give_back")
_bury = Script("bury")
_replay = Script("replay")
_depth = Script("depth")

Leased = tuple[bytes, bytes, int]  # entry id, envelope, attempt


async def publish(
    server: Commands,
    topic: str,
    envelope: bytes,
    *,
    keep: int,
    ttl_ms: int,
    replicated: bool = False,
) -> None:
    publishing = await server.publishing()
    await _publish.run(
        server,
        [topic],
        envelope,
        keep,
        ttl_ms,
        publishing,
        int(server.by_bus),
        replicated=replicated,
    )


async def enqueue(
    server: Commands,
    topic: str,
    envelope: bytes,
    *,
    capacity: int,
    expiry_ms: int,
    replicated: bool = False,
) -> tuple[bool, int]:
    """Whether it was accepted, or the channel is full; and how many expired messages were dropped."""
    accepted, expired = await _enqueue.run(
        server,
        [topic],
        envelope,
        capacity,
        expiry_ms,
        await server.publishing(),
        replicated=replicated,
    )
    return bool(accepted), expired


async def lease(
    server: Commands,
    topic: str,
    worker: tuple[str, str],
    *,
    count: int,
    lease_ms: int,
    expiry_ms: int,
    claim: bool,
) -> tuple[list[Leased], int]:
    """What is leased, and how many expired messages were dropped.

    ``worker`` is the consumer group and the consumer.
    """
    leased, expired = await _lease.run(
        server, [topic], *worker, count, lease_ms, expiry_ms, int(claim)
    )
    return [(entry, envelope, attempt) for entry, envelope, attempt in leased], expired


async def renew(
    server: Commands, topic: str, worker: tuple[str, str], entry: str, attempt: int
) -> bool:
    """False if the lease was lost."""
    return bool(await _renew.run(server, [topic], *worker, entry, attempt))


async def acknowledge(server: Commands, topic: str, group: str, entries: list[str]) -> None:
    await _acknowledge.run(server, [topic], group, *entries)


async def give_back(
    server: Commands,
    topic: str,
    worker: tuple[str, str],
    entry: str,
    attempt: int,
    *,
    age_ms: int,
    attempts: int,
    wake: bool,
) -> None:
    """``attempt`` names the caller's lease, ``attempts`` is what the message gets to its account."""
    await _give_back.run(
        server,
        [topic],
        *worker,
        entry,
        attempt,
        age_ms,
        attempts,
        int(wake),
        await server.publishing(),
    )


async def bury(
    server: Commands,
    keys: tuple[str, str],
    group: str,
    entry: str,
    attempt: int,
    *,
    reason: bytes,
    keep: int,
) -> bool:
    """``keys`` are those of the channel and of its dead letters. False if the lease was lost."""
    return bool(await _bury.run(server, [*keys], group, entry, attempt, reason, keep))


async def replay(
    server: Commands,
    keys: tuple[str, str],
    letter: str,
    envelope: bytes,
    *,
    capacity: int,
    expiry_ms: int,
    replicated: bool = False,
) -> int:
    """1, or 0 if there is no such letter, or -1 if the channel is full."""
    values = (letter, envelope, capacity, expiry_ms, await server.publishing())
    return int(await _replay.run(server, [*keys], *values, replicated=replicated))


async def depth(
    server: Commands, keys: tuple[str, str], group: str, *, expiry_ms: int
) -> tuple[int, int, int]:
    """How many messages wait, are leased, are dead letters."""
    waiting, leased, dead = await _depth.run(server, [*keys], group, expiry_ms)
    return waiting, leased, dead
