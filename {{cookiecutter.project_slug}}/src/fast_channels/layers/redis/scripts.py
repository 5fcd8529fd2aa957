"""The Lua scripts, each with one typed caller. A script's own header documents its keys and values.

``publish``, ``enqueue`` and ``lease`` make the command, for an ``Exchange``.
"""

from collections.abc import Awaitable
from typing import Any

from .link import Command
from .script import Script
from .topology import PUBLISH, Commands

_publish = Script("publish")
_enqueue = Script("enqueue")
_lease = Script("lease")
_renew = Script("renew")
_acknowledge = Script("acknowledge")
_give_back = Script("give_back")
_bury = Script("bury")
_replay = Script("replay")
_depth = Script("depth")
_newest = Script("newest")

Leased = tuple[bytes, bytes, int]  # entry id, envelope, attempt


def publish(
    topic: str, uid: bytes, messages: list[bytes], *, keep: int, ttl_ms: int, by_bus: bool
) -> Command:
    return _publish.command((topic,), uid, keep, ttl_ms, PUBLISH, int(by_bus), *messages)


def enqueue(
    topic: str, envelopes: list[bytes], group: str, *, capacity: int, expiry_ms: int
) -> Command:
    """The reply is for ``enqueued``."""
    return _enqueue.command((topic,), capacity, expiry_ms, PUBLISH, group, *envelopes)


def enqueued(reply: bytes) -> tuple[int, int]:
    """How many messages, the first ones, were accepted, and how many expired ones were dropped."""
    accepted, expired = map(int, reply.split())
    return accepted, expired


def lease(
    topic: str,
    worker: tuple[str, str],
    *,
    count: int,
    lease_ms: int,
    expiry_ms: int,
    claim: bool,
) -> Command:
    """``worker`` is the consumer group and the consumer. The reply is for ``leased``."""
    return _lease.command((topic,), *worker, count, lease_ms, expiry_ms, int(claim))


def leased(reply: list[Any]) -> tuple[list[Leased], int]:
    """What was leased, and how many expired messages were dropped."""
    return list(zip(reply[1::3], reply[2::3], reply[3::3], strict=True)), reply[0]


async def renew(
    server: Commands, topic: str, worker: tuple[str, str], entry: str, attempt: int
) -> bool:
    """False if the lease was lost."""
    return bool(await _renew.run(server, (topic,), *worker, entry, attempt))


def acknowledge(server: Commands, topic: str, group: str, entries: list[str]) -> Awaitable[object]:
    return _acknowledge.run(server, (topic,), group, *entries)


def give_back(
    server: Commands,
    topic: str,
    worker: tuple[str, str],
    entry: str,
    attempt: int,
    *,
    age_ms: int,
    attempts: int,
    wake: bool,
) -> Awaitable[object]:
    """``attempt`` names the caller's lease, ``attempts`` is what the message gets to its account."""
    return _give_back.run(
        server, (topic,), *worker, entry, attempt, age_ms, attempts, int(wake), PUBLISH
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
    return bool(await _bury.run(server, keys, group, entry, attempt, reason, keep))


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
    values = (letter, envelope, capacity, expiry_ms, PUBLISH)
    return int(await _replay.run(server, keys, *values, replicated=replicated))


async def depth(
    server: Commands, keys: tuple[str, str], group: str, *, expiry_ms: int
) -> tuple[int, int, int]:
    """How many messages wait, are leased, are dead letters."""
    waiting, leased, dead = await _depth.run(server, keys, group, expiry_ms)
    return waiting, leased, dead


async def newest(server: Commands, topics: list[str]) -> tuple[int, list[bytes]]:
    """The server's clock in milliseconds, and the id of each log's newest entry.

    ``b""`` for a log that is empty; ``b"!"`` and an error for a key that is none. In a Cluster the
    topics have to share a slot.
    """
    milliseconds, *entries = await _newest.run(server, tuple(topics))
    return milliseconds, entries
