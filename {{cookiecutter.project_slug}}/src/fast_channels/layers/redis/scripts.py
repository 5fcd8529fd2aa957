"""The Lua scripts, each with one typed caller. A script's own header documents its keys and values."""

import hashlib
from pathlib import Path

from redis.exceptions import NoScriptError

from .link import Reply
from .persistent import PersistentLink

SOURCES = Path(__file__).with_name("lua")


class Script:
    """Called by its digest; sent whole only to a server that does not know it yet."""

    def __init__(self, name: str) -> None:
        self._source = (SOURCES / f"{name}.lua").read_text(encoding="utf-8")
        # Redis names a script by its SHA-1; nothing here depends on that being secure.
        self._digest = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    async def run(
        self, server: PersistentLink, keys: list[str], *values: bytes | str | int
    ) -> Reply:
        try:
            return await server.execute("EVALSHA", self._digest, len(keys), *keys, *values)
        except NoScriptError:
            return await server.execute("EVAL", self._source, len(keys), *keys, *values)


_publish = Script("publish")
_enqueue = Script("enqueue")
_lease = Script("lease")
_acknowledge = Script("acknowledge")
_give_back = Script("give_back")
_bury = Script("bury")

Leased = tuple[bytes, bytes, int]  # entry id, envelope, attempt


async def publish(
    server: PersistentLink, topic: str, envelope: bytes, *, keep: int, ttl_ms: int
) -> None:
    await _publish.run(server, [topic], envelope, keep, ttl_ms)


async def enqueue(
    server: PersistentLink, topic: str, envelope: bytes, *, capacity: int, expiry_ms: int
) -> bool:
    """False if the channel is full."""
    return await _enqueue.run(server, [topic], envelope, capacity, expiry_ms) is not None


async def lease(
    server: PersistentLink,
    topic: str,
    worker: tuple[str, str],
    *,
    count: int,
    lease_ms: int,
    expiry_ms: int,
    claim: bool,
) -> list[Leased]:
    """``worker`` is the consumer group and the consumer."""
    reply = await _lease.run(server, [topic], *worker, count, lease_ms, expiry_ms, int(claim))
    return [(entry, envelope, attempt) for entry, envelope, attempt in reply]


async def acknowledge(server: PersistentLink, topic: str, group: str, entry: str) -> None:
    await _acknowledge.run(server, [topic], group, entry)


async def give_back(
    server: PersistentLink,
    topic: str,
    worker: tuple[str, str],
    entry: str,
    *,
    age_ms: int,
    attempts: int,
    wake: bool,
) -> None:
    await _give_back.run(server, [topic], *worker, entry, age_ms, attempts, int(wake))


async def bury(
    server: PersistentLink, topic: str, dead: str, group: str, entry: str, *, keep: int
) -> None:
    await _bury.run(server, [topic, dead], group, entry, keep)
