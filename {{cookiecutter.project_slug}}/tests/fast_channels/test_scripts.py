"""Each Lua script does, on a real server, what its header says."""

import uuid
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import pytest

from fast_channels.layers.redis import scripts
from fast_channels.layers.redis.endpoints import parse_hosts
from fast_channels.layers.redis.persistent import PersistentLink
from redis_servers import RedisServer

WORKER = ("workers", "worker")
MINUTE = 60_000


@pytest.fixture
async def server(redis_server: RedisServer) -> AsyncIterator[PersistentLink]:
    link = PersistentLink(parse_hosts([redis_server.url])[0], timeout=5)
    yield link
    await link.aclose()


@pytest.fixture
def topic() -> str:
    return f"test:{{{uuid.uuid4().hex}}}"


async def lease(server: PersistentLink, topic: str, **options: Any) -> list[tuple[str, bytes, int]]:
    defaults = {"count": 10, "lease_ms": MINUTE, "expiry_ms": MINUTE, "claim": True}
    leased = await scripts.lease(server, topic, WORKER, **(defaults | options))
    return [(entry.decode(), envelope, attempt) for entry, envelope, attempt in leased]


async def enqueue(server: PersistentLink, topic: str, *envelopes: bytes) -> None:
    for envelope in envelopes:
        assert await scripts.enqueue(server, topic, envelope, capacity=10, expiry_ms=MINUTE)


async def pending(server: PersistentLink, topic: str) -> int:
    return int((await server.execute("XPENDING", topic, WORKER[0]))[0])


def test_every_script_has_a_header_and_a_test() -> None:
    """Its keys and arguments are documented before its first command."""
    folder = files("fast_channels.layers.redis") / "lua"
    names = {entry.name.removesuffix(".lua") for entry in folder.iterdir()}
    assert names == {name.removeprefix("test_") for name in globals() if name[5:] in names}
    for name in names:
        text = (folder / f"{name}.lua").read_text()
        header = text[: text.index("redis.call")]
        assert "-- KEYS[1]" in header
        assert "-- ARGV[1]" in header


async def test_publish(server: PersistentLink, topic: str) -> None:
    """One entry in the log, about `keep` at most; the time to live is renewed when asked."""
    await scripts.publish(server, topic, b"one", keep=10, ttl_ms=MINUTE)
    assert 0 < await server.execute("PTTL", topic) <= MINUTE
    await scripts.publish(server, topic, b"two", keep=10, ttl_ms=0)
    entries = await server.execute("XRANGE", topic, "-", "+")
    assert [fields for _, fields in entries] == [[b"m", b"one"], [b"m", b"two"]]
    for _ in range(500):
        await scripts.publish(server, topic, b"more", keep=10, ttl_ms=0)
    assert await server.execute("XLEN", topic) <= 210  # whole nodes of 100 entries are trimmed
    assert await server.execute("PTTL", topic) > 0


async def test_enqueue(server: PersistentLink, topic: str) -> None:
    """Up to `capacity` messages that have not expired."""

    async def put(expiry_ms: int) -> bool:
        return await scripts.enqueue(server, topic, b"m", capacity=2, expiry_ms=expiry_ms)

    assert [await put(MINUTE) for _ in range(3)] == [True, True, False]
    assert await server.execute("XLEN", topic) == 2
    assert await put(-1000)  # as seen a second later than their expiry
    assert await server.execute("XLEN", topic) == 1


async def test_lease(server: PersistentLink, topic: str) -> None:
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


async def test_acknowledge(server: PersistentLink, topic: str) -> None:
    """The message is gone from the channel and from what is leased; twice is no error."""
    await enqueue(server, topic, b"one", b"two")
    (first, _, _), _ = await lease(server, topic)
    for _ in range(2):
        await scripts.acknowledge(server, topic, WORKER[0], first)
    assert await server.execute("XLEN", topic) == 1
    assert await pending(server, topic) == 1


async def test_give_back(server: PersistentLink, topic: str) -> None:
    """The lease gets an age, so that it ends at once or later, and keeps count of the attempts."""
    await enqueue(server, topic, b"one")
    ((entry, _, attempt),) = await lease(server, topic)
    options: dict[str, Any] = {"attempts": attempt, "wake": True}
    await scripts.give_back(server, topic, WORKER, entry, age_ms=0, **options)
    assert await lease(server, topic, lease_ms=MINUTE) == []
    await scripts.give_back(server, topic, WORKER, entry, age_ms=MINUTE, **options)
    assert await lease(server, topic, lease_ms=MINUTE) == [(entry, b"one", 2)]
    await scripts.give_back(
        server, topic, WORKER, entry, age_ms=MINUTE, attempts=0, wake=False
    )  # as if nobody had seen it
    assert await lease(server, topic, lease_ms=MINUTE) == [(entry, b"one", 1)]


async def test_bury(server: PersistentLink, topic: str) -> None:
    """The message moves to the dead letters, once."""
    dead = topic + ":dead"
    await enqueue(server, topic, b"one")
    ((entry, _, _),) = await lease(server, topic)
    for _ in range(2):
        await scripts.bury(server, topic, dead, WORKER[0], entry, keep=100)
    assert [fields for _, fields in await server.execute("XRANGE", dead, "-", "+")] == [
        [b"m", b"one"]
    ]
    assert await server.execute("XLEN", topic) == 0
    assert await pending(server, topic) == 0


async def test_a_server_that_forgot_a_script_is_sent_it(server: PersistentLink, topic: str) -> None:
    """After SCRIPT FLUSH (or a failover) the next call succeeds."""
    await enqueue(server, topic, b"one")
    await server.execute("SCRIPT", "FLUSH")
    await enqueue(server, topic, b"two")
    assert len(await lease(server, topic)) == 2
