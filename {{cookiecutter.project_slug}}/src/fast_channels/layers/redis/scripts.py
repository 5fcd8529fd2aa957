"""The Lua scripts. The header of each documents its keys, its values and what it returns."""

from dataclasses import dataclass
from pathlib import Path

from .client.commands import Commands, Script

DIRECTORY = Path(__file__).with_name("lua")

# Of a log
PUBLISH = Script(DIRECTORY / "publish.lua")
MISSED = Script(DIRECTORY / "epoch.lua", DIRECTORY / "missed.lua")
HISTORY = Script(DIRECTORY / "epoch.lua", DIRECTORY / "history.lua")
# Of a named channel
ENQUEUE = Script(DIRECTORY / "enqueue.lua")
LEASE = Script(DIRECTORY / "lease.lua")
RENEW = Script(DIRECTORY / "renew.lua")
ACKNOWLEDGE = Script(DIRECTORY / "acknowledge.lua")
GIVE_BACK = Script(DIRECTORY / "give_back.lua")
BURY = Script(DIRECTORY / "bury.lua")
REPLAY = Script(DIRECTORY / "replay.lua")
DEPTH = Script(DIRECTORY / "depth.lua")

# The consumer group of a named channel, and its consumers: one holds all leases, the attempt tells whose
# an entry is; the other one holds what was given back and is not due yet.
GROUP, WORKER, DELAYED = "workers", "worker", "delayed"

Indexed = tuple[bytes, int]  # a uid, and how far behind it


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
    server: Commands, topic: str, since: tuple[str, str, int, int], *values: bytes | int
) -> Found:
    """``since``: an epoch, the id of an entry, and its tag. The ``values`` behind it are as in the script."""
    reply = await HISTORY.run(server, (topic,), *since, *values)
    epoch, complete, newest, sender, counter, is_message, uids, *entries = reply
    return Found(
        epoch.decode(),
        bool(complete),
        newest,
        (sender, counter),
        bool(is_message),
        list(zip(uids[::2], uids[1::2], strict=True)),
        list(zip(entries[::3], entries[1::3], entries[2::3], strict=True)),
    )
