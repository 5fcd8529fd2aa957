"""Presence of consumers, and what it leaves behind: nothing."""

import asyncio
import copy
import threading
import time
import uuid
from typing import Any

import pytest

from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.exceptions import ChannelLayerUnavailable, UndecodableMessage
from fast_channels.layers import BaseChannelLayer, InMemoryChannelLayer, RedisChannelLayer
from fast_channels.layers.groups import LocalGroups
from fast_channels.presence import Member, Presence, PresenceMixin
from fast_channels.presence.lease import ProcessLease, Settings
from fast_channels.presence.memory_rosters import MemoryRosters
from fast_channels.presence.mirror import Change, Mirror
from fast_channels.presence.redis_rosters import RedisRosters
from fast_channels.presence.rosters import ENDING, Hold, Notice, Page, Seen
from fast_channels.testing import WebsocketCommunicator

from ..support.expect import eventually, messages
from ..support.redis_servers import RedisServer


class Room(PresenceMixin, AsyncJsonWebsocketConsumer):
    """Tells its client who is here."""

    async def connect(self) -> None:
        await self.accept()
        here = await self.watch("room")
        await self.send_json({"here": [member.key for member in here]})
        await self.present("room", self.scope["path"].strip("/"), {"name": "?"})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        if content == "fail":
            raise RuntimeError("a handler failed")
        if content == "who":
            members = await self.members("room")
            await self.send_json([[one.key, one.info, one.connections] for one in members])
        if content == "hide":
            await self.absent("room")
        if content == "look away":
            await self.unwatch("room")

    async def presence_joined(self, message: dict[str, Any]) -> None:
        await self.send_json(message)

    presence_left = presence_updated = presence_joined


@pytest.fixture
async def presence(memory_layer: InMemoryChannelLayer) -> Any:
    async with Presence(memory_layer, grace=0.1, lease=0.5) as presence:
        yield presence


async def visit(key: str, *here: str) -> WebsocketCommunicator:
    visitor = WebsocketCommunicator(Room.as_asgi(), f"/{key}")
    await visitor.connect()
    assert await visitor.receive_json_from() == {"here": list(here)}
    event = await visitor.receive_json_from()
    assert (event["type"], event["key"]) == ("presence.joined", key)
    return visitor


async def test_consumers_see_each_other(presence: Presence) -> None:
    """From ``connect`` on, until the socket is closed, and as long as they want to."""
    ann = await visit("ann")
    bob = await visit("bob", "ann")
    assert await ann.receive_json_from() == {
        "type": "presence.joined",
        "group": "room",
        "key": "bob",
        "info": {"name": "?"},
        "connections": 1,
        "members": 2,
    }
    await ann.send_json_to("who")
    assert await ann.receive_json_from() == [["ann", {"name": "?"}, 1], ["bob", {"name": "?"}, 1]]
    await bob.send_json_to("look away")
    await bob.send_json_to("hide")
    left = await ann.receive_json_from()
    assert (left["type"], left["key"], left["connections"]) == ("presence.left", "bob", 0)
    await bob.send_json_to("who")
    assert await bob.receive_json_from() == [["ann", {"name": "?"}, 1]]
    for visitor in (ann, bob):
        await visitor.disconnect()


@pytest.mark.parametrize("end", ["disconnect", "fail", "cancel"])
async def test_however_a_consumer_ends(presence: Presence, end: str) -> None:
    """Its presence ends, and it watches no more."""
    ann = await visit("ann")
    bob = await visit("bob", "ann")
    await ann.receive_json_from()
    if end == "disconnect":
        await bob.disconnect()
    elif end == "fail":
        await bob.send_json_to("fail")
        with pytest.raises(RuntimeError, match="a handler failed"):
            await bob.wait()
    else:
        await bob.stop()
    left = await ann.receive_json_from()
    assert (left["type"], left["key"]) == ("presence.left", "bob")
    assert await presence.members("room") == [Member("ann", {"name": "?"}, 1)]
    await ann.disconnect()


async def test_unused_it_costs_nothing(presence: Presence) -> None:
    """A process that holds nothing and watches nothing has no task, no lease and no room in memory."""
    tasks = asyncio.all_tasks()
    ann = await visit("ann")
    await ann.disconnect()
    process, _ = next(iter(presence._processes.values()))
    await eventually(lambda: process.rooms == {}, "the room to be forgotten")
    await eventually(lambda: asyncio.all_tasks() == tasks, "the tasks to end")
    rosters: Any = process._rosters
    await eventually(
        lambda: all(resigned for _, resigned in rosters._leases.values()),
        "the lease to be given up",
    )
    channel = await presence.layer.new_channel()
    await presence.present("room", "bob", channel=channel)
    assert [one.key for one in await presence.members("room")] == ["bob"]
    await presence.layer.close_channel(channel)


async def test_without_being_made_it_has_the_defaults(memory_layer: InMemoryChannelLayer) -> None:
    """A consumer finds the one that was made for its layer, or gets one."""
    presence = Presence.of(memory_layer)
    assert presence.grace == 5
    assert Presence.of(memory_layer) is presence
    async with Presence(memory_layer, grace=1) as other:
        assert Presence.of(memory_layer) is other


@pytest.mark.parametrize(
    "options",
    [{"grace": -1}, {"lease": 0}, {"max_members": 0}, {"max_info": 0}, {"grace": float("nan")}],
)
def test_arguments_that_make_no_sense(options: dict[str, Any]) -> None:
    """They are named, with what was expected."""
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        Presence(InMemoryChannelLayer(), **options)


async def test_another_layer() -> None:
    """It is named."""
    layer = BaseChannelLayer()
    with pytest.raises(TypeError, match="not on <fast_channels"):
        await Presence(layer).members("room")


async def test_two_event_loops(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one layer object, in two threads, are two processes; one whose loop ends leaves in order."""
    # Nobody is taken for dead within two timeouts, of the layer or, in memory, this one.
    timeout = 1.5
    monkeypatch.setattr("fast_channels.presence.service.TIMEOUT", timeout)
    layers = [
        InMemoryChannelLayer(),
        RedisChannelLayer([redis_server.url], f"test-{uuid.uuid4().hex[:8]}", timeout=timeout),
    ]
    for layer in layers:
        async with layer, Presence(layer, grace=0.2, lease=1.0) as presence:
            listener = await layer.new_channel()
            await presence.watch("room", listener)
            entered, leave = threading.Event(), threading.Event()

            async def elsewhere(
                presence: Presence = presence,
                entered: threading.Event = entered,
                leave: threading.Event = leave,
            ) -> None:
                channel = await presence.layer.new_channel()
                await presence.present("room", "ann", channel=channel)
                entered.set()
                await asyncio.to_thread(leave.wait)

            thread = threading.Thread(target=lambda work=elsewhere: asyncio.run(work()))
            thread.start()
            (joined,) = await messages(layer, listener)
            await asyncio.to_thread(entered.wait)
            assert joined["type"] == "presence.joined"
            assert [one.key for one in await presence.members("room")] == ["ann"]
            leave.set()
            await asyncio.to_thread(thread.join)
            (left,) = await messages(layer, listener)
            assert left["type"] == "presence.left"


async def test_encrypted_info(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is unreadable in Redis, bound to group and key, and never too old."""
    layer = RedisChannelLayer(
        [redis_server.url], f"test-{uuid.uuid4().hex[:8]}", symmetric_encryption_keys=["a key"]
    )
    async with layer, Presence(layer) as presence:
        channel = await layer.new_channel()
        await presence.present("room", "ann", {"name": "Top Secret"}, channel=channel)
        roster = layer.loop_layer.config.topics.roster("room")
        _, packed = await layer.loop_layer.commands_of(roster).execute("HGETALL", roster)
        assert b"Secret" not in packed
        rosters = RedisRosters(layer.loop_layer, 30.0)
        sealed = rosters.seal("room", "ann", {"name": "Ann"}, 4096)
        now = time.time()
        monkeypatch.setattr("time.time", lambda: now + 86400)
        assert rosters.unseal("room", "ann", sealed) == {"name": "Ann"}
        assert [one.info for one in await presence.members("room")] == [{"name": "Top Secret"}]
        for place in (("room", "bob"), ("another", "ann")):
            with pytest.raises(UndecodableMessage):
                rosters.unseal(*place, sealed)


def test_the_end_of_a_channel_is_told_once() -> None:
    """To whoever asked for it, in their order, and however often they did; but not if they take it back."""
    told: list[str] = []
    groups, closed = LocalGroups(lambda channel: 1, None), told.append
    groups.mailbox_of("a")
    for _ in range(2):
        groups.when_closed("a", closed)
        groups.when_closed("a", lambda channel: told.append(f"and {channel}"))
    groups.when_closed("b", closed)
    groups.ignore_close("b", closed)
    groups.ignore_close("c", closed)
    groups.close("b")
    assert told == []
    groups.close("a")
    groups.close("a")
    assert told == ["a", "and a", "and a"]


async def test_an_older_state_amid_a_burial() -> None:
    """Is not taken for an empty one: what it says of the dead is taken out by whoever looks next.

    No time passes: before the first lease was asked for, what was written a millisecond ago has expired.
    """
    store, dead, nothing = MemoryRosters(lambda: 0.0), "dead.1", {"ann": Hold(0, 0, b"")}
    settings = Settings(5.0, 30.0, max_members=9, max_info=9, timeout=5.0)
    lease = ProcessLease("me", store, settings, on_new_id=lambda: None, on_gone=lambda: None)
    page = store.page

    async def restored_afterwards(*arguments: Any, **options: Any) -> Page:
        found = await page(*arguments, **options)
        store._rosters, store.page = older, page  # type: ignore[method-assign]
        return found

    await store.write("room", dead, 1, {"ann": Hold(1, 0, b"")}, limit=9)
    older = copy.deepcopy(store._rosters)
    await store.write("room", dead, ENDING, nothing, limit=9)
    store.page = restored_afterwards  # type: ignore[method-assign]
    await lease.bury("room", await store.state("room", lease.id, watch=False))
    assert (await store.state("room", lease.id, watch=False)).numbers == {dead: 1}
    assert [one.key for one in (await store.page("room", "", 9)).members] == ["ann"]
    store._born = -10_000_000  # old enough to know who lives
    await lease.bury("room", await store.state("room", lease.id, watch=False))
    assert (await store.page("room", "", 9)).members == []


# The mirror


def mirror_of(*pages: Page) -> Mirror:
    mirror = Mirror(lambda one, other: one.info == other.info)
    mirror.begin()
    assert mirror.finish(list(pages))[1]
    return mirror


def seen(*keys: str) -> list[Seen]:
    return [Seen(key, 1, b"") for key in keys]


def joined(key: str) -> Seen:
    return Seen(key, 1, b"")


def left(key: str) -> Seen:
    return Seen(key, 0, b"")


def told(changes: list[Change] | None) -> list[tuple[str, str]] | None:
    return None if changes is None else [(kind, one.key) for kind, one in changes]


def test_a_notice_that_does_not_follow() -> None:
    """Is not applied; what is known already is skipped."""
    mirror = mirror_of(Page(b"e", 5, seen("a"), None))
    assert mirror.hear(Notice(b"e", 6, [joined("c")])) is None
    assert mirror.hear(Notice(b"f", 5, [joined("c")])) is None
    assert told(mirror.hear(Notice(b"e", 3, [left("x"), joined("a"), joined("b")]))) == [
        ("joined", "b")
    ]
    assert told(mirror.hear(Notice(b"e", 6, [left("a")]))) == [("left", "a")]
    assert mirror.version == 7


def test_pages_of_different_versions() -> None:
    """A notice changes what was looked for before it, and not what was looked for after it."""
    mirror = mirror_of(
        Page(b"e", 5, seen("a", "c"), "c"),
        Page(b"e", 8, seen("x"), None),
    )
    changes = [joined("b"), left("x"), joined("x"), joined("z")]
    heard = mirror.hear(Notice(b"e", 5, changes))
    assert told(heard) == [("joined", "b"), ("joined", "z")]
    assert sorted(mirror.members) == ["a", "b", "c", "x", "z"]


def test_what_is_heard_while_it_is_read() -> None:
    """Is applied behind the pages; a gap in it has the roster read again."""
    mirror = mirror_of(Page(b"e", 5, seen("a"), None))
    for notices, complete, members in (
        ([Notice(b"e", 6, [joined("b")])], True, ["a", "b"]),
        ([Notice(b"e", 9, [joined("c")])], False, ["a"]),
    ):
        mirror.begin()
        for notice in notices:
            assert mirror.hear(notice) == []
        assert mirror.finish([Page(b"e", 6, seen("a"), None)])[1] == complete
        assert sorted(mirror.members) == members


def test_a_reading_that_was_given_up() -> None:
    """What was known before goes on to be known, and is kept up to date."""
    mirror = mirror_of(Page(b"e", 5, seen("a"), None))
    mirror.begin()
    assert mirror.hear(Notice(b"e", 9, [joined("y")])) == []
    mirror.abandon()
    assert told(mirror.hear(Notice(b"e", 5, [joined("b")]))) == [("joined", "b")]
    assert sorted(mirror.members) == ["a", "b"]


def test_a_roster_that_was_emptied_while_it_was_read() -> None:
    """Its pages do not fit together."""
    mirror = Mirror(lambda one, other: True)
    mirror.begin()
    with pytest.raises(ChannelLayerUnavailable, match="was emptied"):
        mirror.finish([Page(b"e", 5, seen("a"), "a"), Page(b"f", 1, seen("b"), None)])
    assert told(mirror.hear(Notice(b"g", 0, [joined("c")]))) is None
