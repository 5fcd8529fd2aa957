"""Rosters in Redis and in memory say the same after any sequence of writes, and each script has a header."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given, strategies as st

from fast_channels.exceptions import UndecodableMessage
from fast_channels.layers import RedisChannelLayer
from fast_channels.presence.memory_rosters import MemoryRosters
from fast_channels.presence.redis_rosters import RedisRosters, parse_notice
from fast_channels.presence.rosters import DEAD, Hold, Notice, Rosters

from ..support.expect import eventually
from ..support.properties import sequences
from ..support.redis_servers import RedisServer

LEASE = 30.0

keys = st.sampled_from(["a", "b", "c", "dé", "x y", "\x00"])
processes = st.sampled_from(["one", "two", "three"])
holds = st.builds(
    Hold,
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from([b"", b"i", b"\xff j"]),
    st.booleans(),
)
writes = st.tuples(
    processes,
    st.sampled_from([0, 0, 1, -1]),  # how far the number goes on
    st.sampled_from([0, 0, 0, 2]),  # what was confirmed
    st.dictionaries(keys, holds, max_size=4),
)


class Both:
    """A store in each, and what their listeners heard."""

    def __init__(self, server: RedisServer) -> None:
        self.layer = RedisChannelLayer([server.url], f"test-{uuid.uuid4().hex[:8]}")
        self.stores: list[Rosters] = [MemoryRosters(), RedisRosters(self.layer.loop_layer, LEASE)]
        self.heard: list[list[Notice]] = [[], []]

    async def ask(self, method: str, *arguments: Any, **options: Any) -> list[Any]:
        return [await getattr(store, method)(*arguments, **options) for store in self.stores]


async def connected(layer: RedisChannelLayer) -> None:
    """Rosters that cannot be reached say so soon; whoever asks them tries again."""
    await layer.group_send("nobody", {"type": "test"})
    await layer.flush()


async def replay(server: RedisServer, sequence: list[Any]) -> None:
    both = Both(server)
    try:
        await connected(both.layer)
        for store, heard in zip(both.stores, both.heard, strict=True):
            await store.renew("one", None, lease=LEASE, may_sweep=False)
            await store.listen("room", heard.append)
            await store.state("room", "", watch=True)
        number = 1
        for process, step, after, held in sequence:
            number = max(1, number + step)
            memory, redis = await both.ask(
                "write", "room", process, number, held, limit=4, after=after
            )
            assert memory._replace(epoch=b"") == redis._replace(epoch=b"")
            number += memory.outcome == "done"
            if memory.outcome == "done":  # with the place of the write among all
                pages = await both.ask("page", "room", "", 1)
                assert [one[2:] for one in (memory, redis)] == [one[:2] for one in pages]
            for of in ("", "two"):
                for start, count in (("", 2), ("b", 10)):
                    memory, redis = await both.ask("page", "room", start, count, of=of)
                    assert memory[1:3] == redis[1:3]
        memory, redis = await both.ask("state", "room", "two", watch=False)
        assert (memory.version, memory.numbers) == (redis.version, redis.numbers)
        total = memory.version
        memory, redis = both.heard

        def have_come() -> bool:
            return all(sum(len(one.changes) for one in heard) == total for heard in both.heard)

        await eventually(have_come, "the notices")
        assert [one[1:] for one in memory] == [one[1:] for one in redis]
    finally:
        await both.layer.aclose()


def test_both_kinds_say_the_same(redis_server: RedisServer) -> None:
    """Results of writes, pages, versions, numbers and notices."""

    @sequences(60, 1)
    @given(st.lists(writes, min_size=1, max_size=15))
    def check(sequence: list[Any]) -> None:
        asyncio.run(replay(redis_server, sequence))

    check()


@pytest.fixture(params=["memory", "redis"])
async def rosters(request: pytest.FixtureRequest) -> AsyncIterator[Rosters]:
    if request.param == "memory":
        yield MemoryRosters()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    layer = RedisChannelLayer([server.url], f"test-{uuid.uuid4().hex[:8]}")
    await connected(layer)
    yield RedisRosters(layer.loop_layer, 0.2)
    await layer.aclose()


async def renewed(
    rosters: Rosters, process: str, deadline: int | None = None, **options: Any
) -> Any:
    defaults = {"lease": 0.2, "may_sweep": False}
    return await rosters.renew(process, deadline, **(defaults | options))


async def test_a_lease_is_taken_out_by_who_may(rosters: Rosters) -> None:
    """Not by one that is new; and whoever was taken out is told so, once and for all."""
    lost = await renewed(rosters, "lost")
    assert not lost.lapsed
    held = await renewed(rosters, "held", lease=30)
    assert held.processes == {"lost", "held"}
    await asyncio.sleep(0.3)
    new = await renewed(rosters, "new")
    assert new.processes == {"lost", "held", "new"}
    assert new.age >= 0.3
    held = await renewed(rosters, "held", held.deadline, lease=30, may_sweep=True)
    assert held.processes == {"held", "new"}
    assert await renewed(rosters, "lost", lost.deadline) is None


async def test_whose_own_lease_had_ended_takes_out_nobody(rosters: Rosters) -> None:
    """An outage has ended both."""
    await renewed(rosters, "other")
    mine = await renewed(rosters, "mine")
    await asyncio.sleep(0.3)
    mine = await renewed(rosters, "mine", mine.deadline, may_sweep=True)
    assert mine.lapsed
    assert mine.processes == {"mine", "other"}


async def test_an_older_registry_is_noticed(rosters: Rosters) -> None:
    """It has another deadline than the process was told, an earlier one."""
    lease = await renewed(rosters, "mine")
    assert (await renewed(rosters, "mine", lease.deadline - 1)).deadline >= lease.deadline
    assert await renewed(rosters, "mine", lease.deadline + 60_000) is None
    assert await renewed(rosters, "mine", lease.deadline) is None


async def test_who_resigns_is_gone_at_its_time(rosters: Rosters) -> None:
    """By anybody's renewal."""
    await renewed(rosters, "other", lease=30)
    await rosters.resign("other", within=0.2)
    assert (await renewed(rosters, "new", lease=30)).processes == {"other", "new"}
    await asyncio.sleep(0.3)
    assert (await renewed(rosters, "new", lease=30)).processes == {"new"}


async def test_a_roster_that_has_lost_a_write(rosters: Rosters) -> None:
    """Nothing more is written to it, before the process goes on from nothing; nor what comes too late."""
    await renewed(rosters, "one", lease=30)
    held = {"a": Hold(1, 0, b"")}
    assert (await rosters.write("room", "one", 5, held, limit=9)).outcome == "done"
    lost = await rosters.write("room", "one", 8, {"b": Hold(1, 0, b"")}, limit=9, after=7)
    late = await rosters.write("room", "one", 4, {"c": Hold(1, 0, b"")}, limit=9)
    assert (lost.outcome, late.outcome) == ("lost", "refused")
    assert [one.key for one in (await rosters.page("room", "", 9)).members] == ["a"]
    for number in (8, 8):
        assert (await rosters.write("room", "one", number, held, limit=9)).outcome == "done"
    state = await rosters.state("room", "one", watch=False)
    assert (state.version, state.numbers) == (1, {"one": 8})


async def test_what_nobody_confirms_is_stale(rosters: Rosters) -> None:
    """20 leases after its last write or confirmation."""
    await renewed(rosters, "one")
    for process in ("one", "two"):
        await rosters.write("room", process, 1, {"a": Hold(1, 0, b"")}, limit=9)
    loop = asyncio.get_running_loop()
    end = loop.time() + 25 * 0.2
    while loop.time() < end:
        state = await rosters.state("room", "one", watch=False)
        await asyncio.sleep(0.1)
    assert state.stale == {"two"}
    assert state.numbers == {"one": 1, "two": 1}


async def test_nothing_is_written_by_a_look(redis_server: RedisServer) -> None:
    """At a group that nobody is in and nobody watches; and no change is told where nobody watches."""
    layer = RedisChannelLayer([redis_server.url], prefix := f"test-{uuid.uuid4().hex[:8]}")
    rosters = RedisRosters(layer.loop_layer, LEASE)
    try:
        await connected(layer)
        await rosters.state("room", "one", watch=False)
        await rosters.page("room", "", 10)
        assert redis_server.execute("KEYS", f"{prefix}:*") == []
        heard: list[Notice] = []
        await rosters.listen("room", heard.append)
        await rosters.write("room", "one", 1, {"a": Hold(1, 0, b"")}, limit=9)
        await rosters.state("room", "one", watch=True)
        await rosters.write("room", "one", 2, {"b": Hold(1, 0, b"")}, limit=9)
        await eventually(lambda: bool(heard), "the second notice")
        assert [change.key for notice in heard for change in notice.changes] == ["b"]
        for key in redis_server.execute("KEYS", f"{prefix}:*"):
            assert 4 * LEASE < int(redis_server.execute("TTL", key)) <= 120 * LEASE
        nothing = dict.fromkeys("ab", Hold(0, 0, b""))
        await rosters.write("room", "one", 3, nothing, limit=9)
        await rosters.state("room", "one", watch=False)
        (key,) = redis_server.execute("KEYS", f"{prefix}:*")
        assert 0 < int(redis_server.execute("TTL", key)) <= 4 * LEASE
    finally:
        await layer.aclose()


async def test_flush_deletes_rosters_and_registry(redis_server: RedisServer) -> None:
    """As every key of the layer."""
    layer = RedisChannelLayer([redis_server.url], prefix := f"test-{uuid.uuid4().hex[:8]}")
    rosters = RedisRosters(layer.loop_layer, LEASE)
    try:
        await connected(layer)
        await rosters.renew("one", None, lease=LEASE, may_sweep=False)
        await rosters.write("room", "one", DEAD, {"a": Hold(1, 0, b"")}, limit=9)
        assert len(redis_server.execute("KEYS", f"{prefix}:*")) == 4
        await layer.flush()
        assert redis_server.execute("KEYS", f"{prefix}:*") == []
        assert (await rosters.page("room", "", 10)).members == []
    finally:
        await layer.aclose()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"epoch 1",
        b"epoch x ",
        b"epoch 1 \x01",
        b"epoch 1 \x07" + bytes(11) + b"\x00",
        b"epoch 1 \x01" + (1).to_bytes(4) + (9).to_bytes(4) + bytes(4) + b"key",
        b"epoch 1 \x01" + (1).to_bytes(4) + (1).to_bytes(4) + bytes(4) + b"\xff",
    ],
)
def test_a_notice_of_somebody_else(data: bytes) -> None:
    """Whatever comes on the topic is a notice or undecodable."""
    with pytest.raises(UndecodableMessage):
        parse_notice(data)


def test_every_script_has_a_header() -> None:
    """Its keys and arguments are documented before its first command."""
    folder = files("fast_channels.presence") / "lua"
    for entry in folder.iterdir():
        text = entry.read_text()
        header = text[: text.index("redis.call")]
        assert "-- KEYS" in header
        assert "-- ARGV[1]" in header
        assert "-- returns" in header
