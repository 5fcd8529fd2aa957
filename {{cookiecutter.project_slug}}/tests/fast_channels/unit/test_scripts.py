"""Each Lua script does, on a real server, what its header says."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import pytest

from fast_channels.layers.redis import group_history, group_log, job_streams
from fast_channels.layers.redis.client.cluster import BY_BUS
from fast_channels.layers.redis.client.commands import DIRECT, PUBLISH, Commands
from fast_channels.layers.redis.client.hosts import Endpoint, parse_hosts
from fast_channels.layers.redis.client.servers import KeptConnection
from fast_channels.layers.redis.job_streams import DELAYED, GROUP, WORKER
from fast_channels.layers.redis.loop_layer import Uids

from ..support.redis_servers import RedisServer

PARTS = {"epoch"}  # of other scripts
MINUTE = 60_000


@pytest.fixture
def endpoint(redis_server: RedisServer) -> Endpoint:
    return parse_hosts([redis_server.url])[0]


@pytest.fixture
async def server(endpoint: Endpoint) -> AsyncIterator[Commands]:
    kept = KeptConnection(endpoint, timeout=5)
    yield kept
    await kept.aclose()


@pytest.fixture
def topic() -> str:
    return f"test:{{{uuid.uuid4().hex}}}"


def due_key(topic: str) -> str:
    return topic + ":due"


async def take(
    server: Commands,
    topic: str,
    *handled: str,
    count: int = 10,
    lease_ms: int = MINUTE,
    expiry_ms: int = MINUTE,
    claim: bool = True,
) -> tuple[list[tuple[str, bytes, int]], int, int]:
    """What was leased, how many had expired, and whether there may be more."""
    values = (GROUP, WORKER, DELAYED, count, lease_ms, expiry_ms, int(claim), *handled)
    expired, more, *parts = await job_streams.LEASE.run(server, (topic, due_key(topic)), *values)
    leased = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    return [(entry.decode(), sealed, attempt) for entry, sealed, attempt in leased], expired, more


async def lease(
    server: Commands, topic: str, *handled: str, **options: Any
) -> list[tuple[str, bytes, int]]:
    return (await take(server, topic, *handled, **options))[0]


async def renew(server: Commands, topic: str, entry: str, attempt: int) -> bool:
    return bool(await job_streams.RENEW.run(server, (topic,), GROUP, WORKER, entry, attempt))


async def acknowledge(server: Commands, topic: str, entry: str) -> None:
    await job_streams.ACKNOWLEDGE.run(server, (topic,), GROUP, entry)


async def enqueue(server: Commands, topic: str, *envelopes: bytes) -> None:
    for envelope in envelopes:
        await put(server, topic, envelope)


async def put(
    server: Commands,
    topic: str,
    *envelopes: bytes,
    capacity: int = 10,
    expiry_ms: int = MINUTE,
) -> tuple[int, int]:
    """How many were accepted, and how many had expired."""
    values = (capacity, expiry_ms, PUBLISH, GROUP, *envelopes)
    accepted, expired = map(int, (await job_streams.ENQUEUE.run(server, (topic,), *values)).split())
    return accepted, expired


async def publish(
    server: Commands, topic: str, *messages: bytes, uid: bytes = b"uid:", how: str = DIRECT
) -> bytes:
    values = (uid, 10, MINUTE, PUBLISH, how, *messages)
    entry: bytes = await group_log.APPEND.run(server, (topic,), *values)
    return entry


async def pending(server: Commands, topic: str) -> int:
    return int((await server.execute("XPENDING", topic, GROUP))[0])


def test_every_script_has_a_header_and_a_test() -> None:
    """Its keys and arguments are documented before its first command."""
    folder = files("fast_channels.layers.redis") / "lua"
    names = {entry.name.removesuffix(".lua") for entry in folder.iterdir()}
    scripts = names - PARTS
    assert scripts == {name.removeprefix("test_") for name in globals() if name[5:] in names}
    for name in scripts:
        text = (folder / f"{name}.lua").read_text()
        header = text[: text.index("redis.call")]
        assert "-- KEYS[1]" in header
        assert ("-- ARGV[1]" in header) == ("ARGV" in text)


async def test_publish(server: Commands, topic: str) -> None:
    """An entry for each message, about `keep` at most; the last one can be read for its expiry."""
    await publish(server, topic, b"one")
    assert MINUTE < await server.execute("PTTL", topic) <= 1.5 * MINUTE
    await publish(server, topic, b"two", b"three")
    entries = await server.execute("XRANGE", topic, "-", "+")
    assert [fields for _, fields in entries] == [
        [b"m", b"uid:one"],
        [b"m", b"uid:two"],
        [b"m", b"uid:three", b"i", b"1"],
    ]
    for _ in range(250):
        await publish(server, topic, b"more", b"and more")
    assert await server.execute("XLEN", topic) <= 210  # whole nodes of 100 entries are trimmed


async def test_publish_renews_the_time_to_live(server: Commands, topic: str) -> None:
    """Whatever became of the key meanwhile; while it lives long enough, nothing is written."""
    for spoil in (("PERSIST", topic), ("PEXPIRE", topic, MINUTE - 1), ("DEL", topic)):
        await publish(server, topic, b"m")
        await server.execute(*spoil)
        await publish(server, topic, b"m")
        assert MINUTE < await server.execute("PTTL", topic) <= 1.5 * MINUTE
    await server.execute("PEXPIRE", topic, MINUTE + 10_000)
    await publish(server, topic, b"m")
    assert await server.execute("PTTL", topic) <= MINUTE + 10_000


async def test_publish_tells_the_listeners(
    server: Commands, endpoint: Endpoint, topic: str
) -> None:
    """Once: the last entry's id, the one before the first if asked, and all messages."""
    told: list[bytes] = []
    listener = KeptConnection(endpoint, 5, on_message=lambda _, data: told.append(data))
    connection = await listener.connected(asyncio.get_running_loop().time() + 30)
    connection.cast("SUBSCRIBE", topic)
    await listener.execute("PING")
    last = [b"0-0"]
    for by_bus in (True, False, True):
        how = BY_BUS if by_bus else DIRECT
        last.append(await publish(server, topic, b"one", b"two", how=how))
        await listener.execute("PING")
        before = last[-2] if by_bus else b"-"
        assert told.pop() == b"%b %b uid:onetwo" % (last[-1], before)
        assert not told
    await listener.aclose()


async def test_missed(server: Commands, topic: str) -> None:
    """Of each log, in the order of the topics, what follows the entry that was heard last, or the id to
    begin from where that is not there; a key that is no log spoils no other.
    """
    logs = [f"{topic}:{name}" for name in ("a", "none", "text", "b")]
    for log in (*[logs[0]] * 25, logs[3]):
        await publish(server, log, b"m")
    await server.execute("SET", logs[2], "text")
    ids = [entry for entry, _ in await server.execute("XRANGE", logs[0], "-", "+")]
    ((other, _),) = await server.execute("XRANGE", logs[3], "-", "+")
    seconds, _ = await server.execute("TIME")

    async def ask(
        *questions: bytes | str, most: int = 100, size: int = 10_000, epoch: int = 0
    ) -> Any:
        topics = tuple(logs[: len(questions) // 2])
        return await group_log.MISSED.run(server, topics, epoch, most, size, *questions)

    clock, epoch, *answers = await ask(ids[-1], "", "0-0", "", "$", "", "$", "")
    assert (answers[:2], epoch) == ([ids[-1], b"0-0"], b"")
    assert answers[2].startswith(b"!WRONGTYPE")
    assert answers[3] == other
    assert abs(clock / 1000 - int(seconds)) < 60
    assert len((await ask("$", "", epoch=1))[1]) == 12
    for question, first in (((ids[5], ids[20]), 5), (("1-1", ids[7]), 7), (("0-0", "1-0"), 0)):
        _, _, (newest, length, more, *page) = await ask(*question)
        assert (newest, length, more) == (ids[-1], 25, 0)
        assert [entry for entry, _ in page] == ids[first:]
    later = b"%d-0" % (int(ids[-1].partition(b"-")[0]) + 60_000)
    assert (await ask(later, later))[2] == [ids[-1], 25, 0]
    for bounds in ({"most": 7}, {"size": 20}):
        _, _, (_, _, more, *page), none = await ask("0-0", "", "0-0", "", **bounds)
        assert ([entry for entry, _ in page], more, none) == (ids[:10], 1, b"0-0")


async def look(
    server: Commands, topic: str, since: tuple[str, str, int, int], **options: int
) -> group_history.Found:
    options = {"wanted": 2, "most": 10, "most_bytes": 10_000} | options
    return await group_history.read_history(
        server, topic, since, *options.values(), b"f" * 16, MINUTE
    )


async def test_history(server: Commands, topic: str) -> None:
    """What came after an entry, if that stands in the log and not too much did, else the last ones.

    An empty log gets a first entry to stand for its beginning.
    """
    nothing = ("", "0-0", 0, 0)
    first = await look(server, topic, nothing)
    assert (first.is_message, first.entries, first.complete) == (False, [], False)
    assert 0 < await server.execute("PTTL", topic) <= MINUTE
    uids = Uids()
    for number in range(5):
        await publish(server, topic, b"%d" % number, uid=uids.make())
    begin = (first.epoch, first.newest.decode(), *first.tag)
    found = await look(server, topic, begin)
    assert [envelope[16:] for _, envelope, _ in found.entries] == [b"%d" % n for n in range(5)]
    assert (found.complete, found.is_message, found.before) == (True, True, [(b"f" * 16, 0)])
    for options in ({"most": 4}, {"most_bytes": 70}):
        cut = await look(server, topic, begin, **options)
        assert [envelope[16:] for _, envelope, _ in cut.entries] == [b"3", b"4"]
        assert not cut.complete
    for other in (
        ("f" * 12, *begin[1:]),
        (begin[0], "1-1", *begin[2:]),
        (*begin[:2], begin[2] + 1, begin[3]),
        (*begin[:3], begin[3] + 1),
    ):
        assert not (await look(server, topic, other)).complete
    await server.execute("XADD", topic, "*", "x", "short")
    assert (await look(server, topic, begin, wanted=9)).complete


async def test_enqueue(server: Commands, topic: str) -> None:
    """Up to `capacity` messages that have not expired, the first ones, in their order."""
    assert [await put(server, topic, b"m", capacity=2) for _ in range(3)] == [
        (1, 0),
        (1, 0),
        (0, 0),
    ]
    assert MINUTE < await server.execute("PTTL", topic) <= MINUTE + 60_000
    assert await server.execute("XLEN", topic) == 2
    # As seen a second later than their expiry
    assert await put(server, topic, b"1", b"2", b"3", capacity=2, expiry_ms=-1000) == (2, 2)
    entries = await server.execute("XRANGE", topic, "-", "+")
    assert [fields for _, fields in entries] == [[b"m", b"1"], [b"m", b"2"]]
    assert await put(server, topic, b"m", b"m", capacity=1) == (0, 0)


async def test_enqueue_announces_what_ends_a_wait(
    server: Commands, endpoint: Endpoint, topic: str
) -> None:
    """A message is announced unless one before it was, and has not been leased since."""
    announced: list[bytes] = []
    listener = KeptConnection(endpoint, 5, on_message=lambda _, data: announced.append(data))
    connection = await listener.connected(asyncio.get_running_loop().time() + 30)

    async def number_of(*envelopes: bytes) -> int:
        announced.clear()
        await enqueue(server, topic, *envelopes)
        await listener.execute("PING")
        return len(announced)

    connection.cast("SUBSCRIBE", topic)
    await listener.execute("PING")
    assert await number_of(b"nobody", b"has", b"leased yet") == 3
    assert len(await lease(server, topic, count=2)) == 2
    assert await number_of(b"one waits already") == 0
    assert len(await lease(server, topic)) == 2
    assert await number_of(b"the first of three", b"the second", b"the third") == 1
    ((entry, _, _), *_) = await lease(server, topic)
    assert await number_of(b"all are leased") == 1
    await acknowledge(server, topic, entry)
    assert await number_of(b"one waits") == 0
    await lease(server, topic)
    announced.clear()
    await put(server, topic, b"all are leased;", b"these two", b"came together")
    await listener.execute("PING")
    assert len(announced) == 1
    await listener.aclose()


async def test_lease(server: Commands, topic: str) -> None:
    """New messages in order; ended leases first, with the next attempt; none twice."""
    assert await lease(server, topic) == []
    await enqueue(server, topic, b"one", b"two", b"three")
    assert [(e, a) for _, e, a in await lease(server, topic, count=2)] == [(b"one", 1), (b"two", 1)]
    again = await lease(server, topic, count=2, lease_ms=0)
    assert [(e, a) for _, e, a in again] == [(b"one", 2), (b"two", 2)]
    assert [(e, a) for _, e, a in await lease(server, topic, claim=False)] == [(b"three", 1)]
    assert await lease(server, topic) == []
    assert await lease(server, topic, lease_ms=0, expiry_ms=-1000) == []
    assert await pending(server, topic) == 0


async def test_lease_removes_what_is_dealt_with(server: Commands, topic: str) -> None:
    await enqueue(server, topic, b"one", b"two")
    ((one, _, _),) = await lease(server, topic, count=1)
    ((two, _, _),) = await lease(server, topic, one, count=1)
    assert await pending(server, topic) == await server.execute("XLEN", topic) == 1
    assert await lease(server, topic, one, two) == []
    assert await pending(server, topic) == await server.execute("XLEN", topic) == 0


@pytest.mark.parametrize("leased", [True, False])
async def test_lease_drops_what_has_expired_in_steps(
    server: Commands, topic: str, leased: bool
) -> None:
    """About a thousand messages in one call, which says that there may be more."""
    for _ in range(25):
        await put(server, topic, *[b"old"] * 100, capacity=10_000)
    if leased:
        await lease(server, topic, count=2500)
    dropped: list[int] = []
    more = 1
    while more:
        taken, expired, more = await take(server, topic, count=1, lease_ms=0, expiry_ms=-1000)
        assert taken == []
        dropped.append(expired)
    assert sum(dropped) == 2500
    assert 3 <= len(dropped) <= 4
    assert max(dropped) <= 1001
    assert await pending(server, topic) == await server.execute("XLEN", topic) == 0


async def test_renew(server: Commands, topic: str) -> None:
    """The lease gets an age of 0, if the attempt is the one that it counts and the message is there."""
    assert not await renew(server, topic, "1-1", 1)
    await enqueue(server, topic, b"one")
    ((entry, _, _),) = await lease(server, topic)
    await give_back(server, topic, entry, 1)
    assert not await renew(server, topic, entry, 2)
    assert await renew(server, topic, entry, 1)
    assert await lease(server, topic, lease_ms=MINUTE) == []
    await server.execute("XTRIM", topic, "MAXLEN", 0)  # as if it had expired
    assert not await renew(server, topic, entry, 1)
    await acknowledge(server, topic, entry)
    assert not await renew(server, topic, entry, 1)


async def test_acknowledge(server: Commands, topic: str) -> None:
    """The message is gone from the channel and from what is leased; twice is no error."""
    await enqueue(server, topic, b"one", b"two")
    (first, _, _), _ = await lease(server, topic)
    for _ in range(2):
        await acknowledge(server, topic, first)
    assert await server.execute("XLEN", topic) == 1
    assert await pending(server, topic) == 1


async def give_back(
    server: Commands, topic: str, *leases: str | int, delay_ms: int = 0, counts: bool = True
) -> None:
    """Each one's entry id, then its attempt."""
    values = (GROUP, WORKER, DELAYED, delay_ms, MINUTE, MINUTE, int(counts), PUBLISH, *leases)
    await job_streams.GIVE_BACK.run(server, (topic, due_key(topic)), *values)


async def test_give_back(server: Commands, topic: str) -> None:
    """The lease ends at once, if it is the caller's; the attempt counts or does not."""
    await enqueue(server, topic, b"one", b"two")
    (one, _, _), (two, _, _) = await lease(server, topic)
    await give_back(server, topic, one, 1, two, 1)
    assert await lease(server, topic) == [(one, b"one", 2), (two, b"two", 2)]
    await give_back(server, topic, one, 1)  # too late: the second attempt runs
    assert await lease(server, topic) == []
    await give_back(server, topic, one, 2, counts=False)  # as if nobody had seen it
    assert await lease(server, topic) == [(one, b"one", 2)]


async def test_give_back_with_a_delay(server: Commands, topic: str) -> None:
    """Nobody gets it before it is due, however short a lease is; nor is it anybody's."""
    await enqueue(server, topic, b"one")
    ((entry, _, _),) = await lease(server, topic)
    await give_back(server, topic, entry, 1, delay_ms=MINUTE // 2)
    assert not await renew(server, topic, entry, 1)
    assert await lease(server, topic, lease_ms=0) == []
    assert await pending(server, topic) == 1
    assert MINUTE < await server.execute("PTTL", due_key(topic)) <= 2 * MINUTE

    await server.execute("ZADD", due_key(topic), 0, entry)
    assert await lease(server, topic) == [(entry, b"one", 2)]
    assert await server.execute("EXISTS", due_key(topic)) == 0


async def test_give_back_for_longer_than_a_message_lives(server: Commands, topic: str) -> None:
    """It is due when it expires, so that nothing of it is left then."""
    await enqueue(server, topic, b"one")
    ((entry, _, _),) = await lease(server, topic)
    await give_back(server, topic, entry, 1, delay_ms=1000 * MINUTE)
    due = float(await server.execute("ZSCORE", due_key(topic), entry))
    assert due == int(entry.partition("-")[0]) + MINUTE


async def test_bury(server: Commands, topic: str) -> None:
    """The message moves to the dead letters with attempts and reason, once, by its holder."""
    keys = (topic, topic + ":dead")
    await enqueue(server, topic, b"one")
    ((entry, _, _),) = await lease(server, topic)

    async def bury(attempt: int) -> bool:
        values = (GROUP, WORKER, entry, attempt, b"why", 100)
        return bool(await job_streams.BURY.run(server, keys, *values))

    assert [await bury(attempt) for attempt in (2, 1, 1)] == [False, True, False]
    ((_, fields),) = await server.execute("XRANGE", keys[1], "-", "+")
    assert fields == [b"m", b"one", b"attempts", b"1", b"reason", b"why"]
    assert await server.execute("XLEN", topic) == 0
    assert await pending(server, topic) == 0


async def test_replay(server: Commands, topic: str) -> None:
    """The letter becomes the channel's youngest message, once, and only if there is room."""
    keys = (topic, topic + ":dead")
    letter = (await server.execute("XADD", keys[1], "*", "m", "one")).decode()
    await enqueue(server, topic, b"two")

    async def replay(capacity: int) -> list[int]:
        values = (letter, b"again", capacity, MINUTE, PUBLISH)
        moved: list[int] = await job_streams.REPLAY.run(server, keys, *values)
        return moved

    assert [await replay(capacity) for capacity in (1, 2, 3)] == [[-1, 0], [1, 0], [0, 0]]
    assert [(e, a) for _, e, a in await lease(server, topic)] == [(b"two", 1), (b"again", 1)]
    assert await server.execute("XLEN", keys[1]) == 0


async def test_depth(server: Commands, topic: str) -> None:
    """Waiting, leased, dead; what has expired is in none of them, and counted when it is dropped."""
    keys = (topic, topic + ":dead")

    async def depth(expiry_ms: int = MINUTE) -> tuple[int, ...]:
        return tuple(await job_streams.DEPTH.run(server, keys, GROUP, expiry_ms))

    assert await depth() == (0, 0, 0, 0)
    await enqueue(server, topic, b"one", b"two", b"three")
    assert await depth() == (3, 0, 0, 0)
    await lease(server, topic, count=2)
    await server.execute("XADD", keys[1], "*", "m", "dead")
    assert await depth() == (1, 2, 1, 0)
    assert await depth(expiry_ms=-1000) == (0, 0, 1, 3)


async def test_a_server_that_forgot_a_script_is_sent_it(server: Commands, topic: str) -> None:
    """After SCRIPT FLUSH (or a failover) the next call succeeds."""
    await enqueue(server, topic, b"one")
    await server.execute("SCRIPT", "FLUSH")
    await enqueue(server, topic, b"two")
    assert len(await lease(server, topic)) == 2
