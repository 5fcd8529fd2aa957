"""Who is here: members, joins and leaves, as every layer and topology tells them.

Two services stand for two processes of an app; in memory, which is one process, for two event loops' worth
of it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from fast_channels.exceptions import ChannelNotOwned, InvalidNameError, MessageTooLarge
from fast_channels.layers import BaseChannelLayer
from fast_channels.presence import Member, Presence, PresenceFull
from fast_channels.presence.room import Room
from fast_channels.presence.rosters import PAGE

from ..support.backends import Backend, over
from ..support.expect import eventually, messages, silence
from .conftest import MakeLayer

MakePresence = Callable[..., Presence]

GRACE = 0.5  # seconds


@pytest.fixture
async def make_presence(backend: Backend, make_layer: MakeLayer) -> AsyncIterator[MakePresence]:
    """A function that makes the presence of one more process; without a layer of its own in memory."""
    layers: list[BaseChannelLayer] = []
    async with AsyncExitStack() as stack:

        def make(*, timeout: float | None = None, **options: Any) -> Presence:
            if backend.is_memory:
                layer = layers[0] if layers else make_layer()
            else:
                layer = make_layer(**({"timeout": timeout} if timeout else {}))
            layers.append(layer)
            presence = Presence(layer, **({"grace": GRACE, "lease": 5.0} | options))
            stack.push_async_callback(presence.aclose)
            return presence

        yield make


@pytest.fixture
def here(make_presence: MakePresence) -> Presence:
    return make_presence()


@pytest.fixture
def elsewhere(here: Presence, make_presence: MakePresence) -> Presence:
    """The same app's other process."""
    return make_presence()


async def enter(presence: Presence, key: str, info: dict[str, Any] | None = None) -> str:
    """One more connection, which is that key in the room."""
    channel = await presence.layer.new_channel()
    await presence.present("room", key, info, channel=channel)
    return channel


async def watcher(presence: Presence) -> tuple[str, list[Member]]:
    channel = await presence.layer.new_channel()
    return channel, await presence.watch("room", channel)


async def heard(presence: Presence, channel: str, count: int = 1) -> list[tuple[str, str, int]]:
    """The next changes: what, who, and how many connections."""
    return [
        (message["type"].removeprefix("presence."), message["key"], message["connections"])
        for message in await messages(presence.layer, channel, count)
    ]


async def is_listed(presence: Presence, *members: tuple[str, int]) -> bool:
    return [(one.key, one.connections) for one in await presence.members("room")] == list(members)


async def test_members_are_listed_everywhere(here: Presence, elsewhere: Presence) -> None:
    """With their info, ordered by key, as soon as ``present`` has returned."""
    await enter(here, "bob", {"name": "Bob"})
    await enter(elsewhere, "ann", {"name": "Ann", "tags": ["a", {"deep": True}]})
    expected = [
        Member("ann", {"name": "Ann", "tags": ["a", {"deep": True}]}, 1),
        Member("bob", {"name": "Bob"}, 1),
    ]
    assert await here.members("room") == expected
    assert await elsewhere.members("room") == expected
    assert await here.members("another") == []


async def test_one_entry_for_five_tabs(here: Presence, elsewhere: Presence) -> None:
    """They join once, count five, and leave once, after the last one's grace."""
    listener, members = await watcher(elsewhere)
    assert members == []
    tabs = [(here, await enter(here, "ann")) for _ in range(3)]
    tabs += [(elsewhere, await enter(elsewhere, "ann")) for _ in range(2)]
    assert await heard(elsewhere, listener, 5) == [
        ("joined", "ann", 1),
        *(("updated", "ann", number) for number in range(2, 6)),
    ]
    assert await is_listed(here, ("ann", 5))
    for presence, channel in tabs:
        await presence.layer.close_channel(channel)
    events = await heard(elsewhere, listener)
    while events[-1][0] != "left":
        events += await heard(elsewhere, listener)
    assert [event for event in events if event[0] != "updated"] == [("left", "ann", 0)]
    assert await is_listed(here)
    await silence(elsewhere.layer, listener)


async def test_a_quick_reconnection_says_nothing(here: Presence, elsewhere: Presence) -> None:
    """Neither to the same process nor to another one; the member stays, with one connection."""
    listener, _ = await watcher(here)
    owner, channel = here, await enter(here, "ann")
    assert await heard(here, listener) == [("joined", "ann", 1)]
    for presence in (here, elsewhere, here, elsewhere):
        await owner.leave("room", channel)
        await owner.layer.close_channel(channel)
        owner, channel = presence, await enter(presence, "ann")
        assert await is_listed(here, ("ann", 1))
    await owner.layer.close_channel(channel)
    assert await heard(here, listener) == [("left", "ann", 0)]


async def test_a_connection_that_closes_leaves_all_its_groups(here: Presence) -> None:
    """Nobody has to say so; ``leave`` ends it earlier, in one group."""
    channel = await here.layer.new_channel()
    for group in ("room", "hall", "yard"):
        await here.present(group, "ann", channel=channel)
    await here.leave("yard", channel)
    await here.leave("yard", channel)
    await eventually(lambda: is_empty(here, "yard"), "the yard to be empty")
    await here.layer.close_channel(channel)
    for group in ("room", "hall"):
        await eventually(lambda group=group: is_empty(here, group), f"{group} to be empty")


async def is_empty(presence: Presence, group: str) -> bool:
    return await presence.members(group) == []


async def test_the_info_said_last_is_shown(here: Presence, elsewhere: Presence) -> None:
    """Of several connections; and when that one has left, what the others said."""
    listener, _ = await watcher(here)
    await enter(here, "ann", {"device": "desk"})
    channel = await enter(elsewhere, "ann", {"device": "phone"})
    await here.present(
        "room", "ann", {"device": "desk", "away": True}, channel=await enter(here, "ann")
    )
    shown = [message["info"] for message in await messages(here.layer, listener, 2)]
    assert shown == [{"device": "desk"}, {"device": "phone"}]

    async def shows(info: dict[str, Any]) -> bool:
        return [one.info for one in await here.members("room")] == [info]

    assert await shows({"device": "desk", "away": True})
    await elsewhere.present("room", "ann", {"device": "phone"}, channel=channel)
    assert await shows({"device": "phone"})
    await elsewhere.layer.close_channel(channel)
    await eventually(lambda: shows({"device": "desk", "away": True}), "the phone to be gone")


async def test_a_connection_that_becomes_somebody_else(here: Presence) -> None:
    """The former key has its grace, the new one is there at once."""
    channel = await enter(here, "guest")
    await here.present("room", "ann", channel=channel)
    await eventually(lambda: is_listed(here, ("ann", 1)), "the guest to be gone")


async def test_what_a_watcher_is_told_follows_its_list(here: Presence, elsewhere: Presence) -> None:
    """The list and the changes after it are the state, though many come and go meanwhile."""
    channels = [await enter(elsewhere, f"user-{number:02}") for number in range(20)]
    listener, members = await watcher(here)
    known = {one.key: one.connections for one in members}
    assert len(known) == 20
    for channel in channels[:10]:
        await elsewhere.layer.close_channel(channel)
    for number in range(20, 30):
        await enter(here, f"user-{number:02}")
    for kind, key, connections in await heard(here, listener, 20):
        if kind == "left":
            del known[key]
        else:
            assert (kind == "joined") == (key not in known)
            known[key] = connections
    assert sorted(known) == [f"user-{number:02}" for number in range(10, 30)]
    await here.unwatch("room", listener)
    await enter(here, "late")
    await silence(here.layer, listener)


async def test_whoever_comes_stands_in_the_list(
    here: Presence, elsewhere: Presence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all whose ``present`` had returned before, however late their processes hear of it; and no
    event tells of them a second time.
    """
    hear = Room._hear

    def hear_late(self: Room, *heard: Any) -> None:
        asyncio.get_running_loop().call_later(0.05, hear, self, *heard)

    monkeypatch.setattr(Room, "_hear", hear_late)
    for presence in (here, elsewhere):
        await watcher(presence)  # from now on lists come from what the process knows
    confirmed: list[str] = []

    async def come(presence: Presence, key: str) -> None:
        before = set(confirmed)
        channel = await enter(presence, key)
        confirmed.append(key)
        known = {one.key for one in await presence.watch("room", channel)}
        assert known >= {key, *before}
        while len(known) < 40:
            ((kind, other, _),) = await heard(presence, channel)
            assert (kind, other in known) == ("joined", False)
            known.add(other)
        await silence(presence.layer, channel)

    await asyncio.gather(
        *(come((here, elsewhere)[number % 2], f"user-{number:02}") for number in range(40))
    )


async def test_watching_again_begins_anew(here: Presence, elsewhere: Presence) -> None:
    """What was told and not read yet is in the new list; each event says how many are there then."""
    listener, _ = await watcher(here)
    bob = await enter(elsewhere, "bob")
    mailbox = here.layer.mailbox(listener)  # type: ignore[attr-defined]
    await eventually(lambda: len(mailbox) == 1, "the event to wait")
    assert [one.key for one in await here.watch("room", listener)] == ["bob"]
    await enter(elsewhere, "ann")
    (event,) = await messages(here.layer, listener)
    assert (event["type"], event["key"], event["members"]) == ("presence.joined", "ann", 2)
    await elsewhere.layer.close_channel(bob)
    await eventually(lambda: len(mailbox) == 1, "the event to wait")
    await here.unwatch("room", listener)
    await silence(here.layer, listener)


async def test_an_orderly_end_leaves_the_members_their_grace(
    make_presence: MakePresence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deploy: who comes back to another process within the grace has never left; others leave."""
    # Nobody is taken for dead within two timeouts, of the layer or, in memory, this one.
    timeout = 2.5
    monkeypatch.setattr("fast_channels.presence.service.TIMEOUT", timeout)
    here = make_presence(timeout=timeout)
    listener, _ = await watcher(here)
    before = make_presence(grace=3.0)
    for key in ("ann", "bob"):
        await enter(before, key)
    assert await heard(here, listener, 2) == [("joined", "ann", 1), ("joined", "bob", 1)]
    await before.aclose()
    await enter(here, "ann")
    assert await is_listed(here, ("ann", 1), ("bob", 1))
    assert await heard(here, listener) == [("left", "bob", 0)]
    assert await is_listed(here, ("ann", 1))


async def test_bad_input_gets_a_clear_error(here: Presence, make_presence: MakePresence) -> None:
    """It names what was expected, and nothing has been changed."""
    channel = await here.layer.new_channel()
    for key in ("", "x" * 201, "é" * 101, "\ud800"):
        with pytest.raises(ValueError, match="key must"):
            await here.present("room", key, channel=channel)
    with pytest.raises(TypeError, match="key must be a str"):
        await here.present("room", 7, channel=channel)  # type: ignore[arg-type]
    with pytest.raises(InvalidNameError):
        await here.present("no room", "ann", channel=channel)
    with pytest.raises(TypeError, match="set is nothing that a message carries"):
        await here.present("room", "ann", {"tags": {1}}, channel=channel)
    with pytest.raises(MessageTooLarge, match="max_info allows 4096"):
        await here.present("room", "ann", {"text": "x" * 5000}, channel=channel)
    await here.layer.close_channel(channel)
    for call in (here.present("room", "ann", channel=channel), here.watch("room", channel)):
        with pytest.raises(ChannelNotOwned):
            await call
    assert await here.members("room") == []


async def test_a_group_has_a_bound(make_presence: MakePresence) -> None:
    """One more member is refused; one more connection of a member is not."""
    presence = make_presence(max_members=2)
    for key in ("ann", "bob", "ann"):
        await enter(presence, key)
    with pytest.raises(PresenceFull, match="room has 2 members"):
        await enter(presence, "cem")
    assert await is_listed(presence, ("ann", 2), ("bob", 1))


@over(["memory", "pubsub-standalone", "queue-cluster"])
async def test_many_members_in_pages(make_presence: MakePresence) -> None:
    """Each page goes on behind the last key of the one before; a watcher knows all of them.

    A room's members are on one server, whatever stands beside it, and neither layer has a part in pages:
    they are tried on each once. A page takes two reads, and all of them three.
    """
    number, size = 2 * PAGE + 200, PAGE + 100
    here, elsewhere = (make_presence(lease=60.0) for _ in range(2))  # a busy machine renews late
    await asyncio.gather(*(enter(here, f"{n:05}", {"n": n}) for n in range(number)))
    keys: list[str] = []
    while page := await elsewhere.members("room", count=size, after=keys[-1] if keys else ""):
        assert len(page) == size
        keys += [member.key for member in page]
    assert keys == [f"{n:05}" for n in range(number)]
    listener, members = await watcher(elsewhere)
    assert [member.info["n"] for member in members] == list(range(number))
    await enter(here, "the last")
    assert await heard(elsewhere, listener) == [("joined", "the last", 1)]
