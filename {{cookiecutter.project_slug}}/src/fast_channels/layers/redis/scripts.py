"""The Lua scripts, each with one typed caller. A script's own header documents its keys and values.

``publish``, ``enqueue`` and ``lease`` make the command, for a ``PendingCommand``.
"""

from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .client.commands import DIRECT, PUBLISH, Commands, Script
from .client.connection import Command

DIRECTORY = Path(__file__).with_name("lua")

_publish = Script(DIRECTORY / "publish.lua")
_enqueue = Script(DIRECTORY / "enqueue.lua")
_lease = Script(DIRECTORY / "lease.lua")
_renew = Script(DIRECTORY / "renew.lua")
_acknowledge = Script(DIRECTORY / "acknowledge.lua")
_give_back = Script(DIRECTORY / "give_back.lua")
_bury = Script(DIRECTORY / "bury.lua")
_replay = Script(DIRECTORY / "replay.lua")
_depth = Script(DIRECTORY / "depth.lua")
_newest = Script(DIRECTORY / "epoch.lua", DIRECTORY / "newest.lua")
_history = Script(DIRECTORY / "epoch.lua", DIRECTORY / "history.lua")

# The consumer group of a named channel, and its consumers: one holds all leases, the attempt tells whose
# an entry is; the other one holds what was given back and is not due yet.
GROUP, WORKER, DELAYED = "workers", "worker", "delayed"

Keys = tuple[str, str]
Leased = tuple[bytes, bytes, int]  # entry id, envelope, attempt
Indexed = tuple[bytes, int]  # a uid, and how far behind it


def publish(topic: str, uid: bytes, messages: list[bytes], *, keep: int, expiry_ms: int) -> Command:
    return _publish.command((topic,), uid, keep, expiry_ms, PUBLISH, DIRECT, *messages)


def enqueue(topic: str, envelopes: list[bytes], *, capacity: int, expiry_ms: int) -> Command:
    """The reply is for ``enqueued``."""
    return _enqueue.command((topic,), capacity, expiry_ms, PUBLISH, GROUP, *envelopes)


def enqueued(reply: bytes) -> tuple[int, int]:
    """How many messages, the first ones, were accepted, and how many expired ones were dropped."""
    accepted, expired = map(int, reply.split())
    return accepted, expired


def lease(
    keys: Keys,
    handled: Sequence[str],
    *,
    count: int,
    lease_ms: int,
    expiry_ms: int,
    claim: bool,
) -> Command:
    """``handled`` are the entry ids to be removed first. The reply is for ``leased``."""
    return _lease.command(
        keys, GROUP, WORKER, DELAYED, count, lease_ms, expiry_ms, int(claim), *handled
    )


def leased(reply: list[Any]) -> tuple[list[Leased], int, bool]:
    """What was leased, how many expired messages were dropped, and whether there may be more."""
    return list(zip(reply[2::3], reply[3::3], reply[4::3], strict=True)), reply[0], bool(reply[1])


async def renew(server: Commands, topic: str, entry: str, attempt: int) -> bool:
    """False if the lease was lost."""
    return bool(await _renew.run(server, (topic,), GROUP, WORKER, entry, attempt))


def acknowledge(server: Commands, topic: str, entries: Sequence[str]) -> Awaitable[object]:
    return _acknowledge.run(server, (topic,), GROUP, *entries)


def give_back(
    server: Commands,
    keys: Keys,
    leases: Iterable[str | int],
    *,
    delay_ms: int,
    lease_ms: int,
    expiry_ms: int,
    counts: bool,
) -> Awaitable[object]:
    """``leases``: each one's entry id, then its attempt. ``counts``: as attempts that they had."""
    values = (GROUP, WORKER, DELAYED, delay_ms, lease_ms, expiry_ms, int(counts), PUBLISH)
    return _give_back.run(server, keys, *values, *leases)


async def bury(
    server: Commands, keys: Keys, entry: str, attempt: int, *, reason: bytes, keep: int
) -> bool:
    """``keys`` are those of the channel and of its dead letters. False if the lease was lost."""
    return bool(await _bury.run(server, keys, GROUP, WORKER, entry, attempt, reason, keep))


async def replay(
    server: Commands,
    keys: Keys,
    letter: str,
    envelope: bytes,
    *,
    capacity: int,
    expiry_ms: int,
    replicated: bool = False,
) -> tuple[int, int]:
    """1, or 0 if there is no such letter, or -1 if the channel is full; and how many expired messages
    were dropped.
    """
    values = (letter, envelope, capacity, expiry_ms, PUBLISH)
    moved, expired = await _replay.run(server, keys, *values, replicated=replicated)
    return moved, expired


async def depth(server: Commands, keys: Keys, *, expiry_ms: int) -> tuple[int, int, int, int]:
    """How many messages wait, are leased, are dead letters; and how many expired ones were dropped."""
    waiting, leased, dead, expired = await _depth.run(server, keys, GROUP, expiry_ms)
    return waiting, leased, dead, expired


async def newest(
    server: Commands, topics: list[str], *, with_epoch: bool = False
) -> tuple[int, str, list[bytes]]:
    """The server's clock in milliseconds, its epoch, and the id of each log's newest entry.

    ``b""`` for a log that is empty; ``b"!"`` and an error for a key that is none. In a Cluster the
    topics have to share a slot.
    """
    milliseconds, epoch, *entries = await _newest.run(server, tuple(topics), int(with_epoch))
    return milliseconds, epoch.decode(), entries


@dataclass(frozen=True, slots=True)
class Found:
    """What ``history`` found in a log."""

    epoch: str
    complete: bool  # all that came after the position is here
    newest: bytes  # id of the newest entry, and
    tag: tuple[int, int]
    is_message: bool
    before: list[Indexed]  # uids of some entries before the first one here
    entries: list[tuple[bytes, bytes, int]]  # ids, envelopes and indices


async def history(
    server: Commands,
    topic: str,
    since: tuple[str, str, int, int],
    wanted: int,
    *,
    most: int,
    most_bytes: int,
    uid: bytes,
    expiry_ms: int,
) -> Found:
    """``since``: an epoch, the id of an entry, and its tag; ``wanted``: how many of the last messages,
    where what came after that is not to be had. ``uid`` is for the first entry of an empty log.
    """
    reply = await _history.run(server, (topic,), *since, wanted, most, most_bytes, uid, expiry_ms)
    epoch, complete, newest_id, sender, counter, is_message, uids, *entries = reply
    return Found(
        epoch.decode(),
        bool(complete),
        newest_id,
        (sender, counter),
        bool(is_message),
        list(zip(uids[::2], uids[1::2], strict=True)),
        list(zip(entries[::3], entries[1::3], entries[2::3], strict=True)),
    )
