"""Channels and groups inside one process, without a loop."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from fast_channels.layers import InMemoryChannelLayer
from fast_channels.layers.groups import LocalGroups, copier


@pytest.fixture
def groups() -> LocalGroups:
    return LocalGroups(lambda channel: 2 if channel.startswith("small") else 10, expiry=None)


def waiting(groups: LocalGroups, channel: str) -> list[Any]:
    mailbox = groups.mailboxes[channel]
    return [mailbox.take() for _ in range(len(mailbox))]


def test_a_channel_has_one_mailbox_with_its_capacity(groups: LocalGroups) -> None:
    """Asking again gives the same one; another policy may be set then."""
    mailbox = groups.mailbox_of("small")
    assert groups.mailbox_of("small", "drop_oldest") is mailbox
    assert (mailbox.capacity, mailbox.overflow) == (2, "drop_oldest")
    with pytest.raises(ValueError, match="overflow"):
        groups.mailbox_of("small", "typo")  # type: ignore[arg-type]


def test_the_last_member_that_leaves(groups: LocalGroups) -> None:
    """`leave` tells when the process's part of a group ends."""
    for channel in ("a", "b", "b"):
        groups.join("room", channel)
    assert not groups.leave("room", "stranger")
    assert not groups.leave("room", "a")
    assert groups.leave("room", "b")
    assert not groups.leave("room", "b")
    assert (groups.members, groups.is_member("b")) == ({}, False)


def test_closing_leaves_all_groups(groups: LocalGroups) -> None:
    """It returns the groups that are empty by it; the mailbox is gone."""
    for group in ("mine", "ours", "also mine"):
        groups.join(group, "a")
    groups.join("ours", "b")
    assert sorted(groups.close("a")) == ["also mine", "mine"]
    assert list(groups.members) == ["ours"]
    assert "a" not in groups.mailboxes
    assert groups.close("a") == []


def test_an_idle_named_channel_is_forgotten_unless_a_member(groups: LocalGroups) -> None:
    """So that names that were used once take no memory."""
    groups.mailbox_of("idle")
    groups.mailbox_of("filled").put({})
    groups.join("room", "member")
    for channel in ("idle", "filled", "member", "unknown"):
        groups.close_if_idle(channel)
    assert set(groups.mailboxes) == {"filled", "member"}


def test_a_message_to_a_closed_channel_is_nobodys(groups: LocalGroups) -> None:
    """`deliver` makes no mailbox; what an open one has no room for is counted."""
    groups.deliver("closed", {})
    groups.mailbox_of("small")
    for _ in range(3):
        groups.deliver("small", {})
    assert (list(groups.mailboxes), groups.drops.total) == (["small"], 1)
    assert waiting(groups, "small") == [{}, {}]


def test_only_consumers_are_told_of_the_layers_events(groups: LocalGroups) -> None:
    """A mailbox that a consumer takes from gets a copy; a plain receiver's does not."""
    groups.mailbox_of("plain")
    groups.mailbox_of("consumer").wants_events = True
    event = {"type": "layer.reconnected"}
    groups.notify_consumers(event)
    (told,) = waiting(groups, "consumer")
    assert told == event
    assert told is not event
    assert waiting(groups, "plain") == []


def test_clear_keeps_the_mailboxes(groups: LocalGroups) -> None:
    """Messages and memberships go; open channels stay open."""
    groups.join("room", "a")
    groups.deliver_group("room", {})
    groups.clear()
    assert (groups.members, waiting(groups, "a")) == ({}, [])
    assert not groups.is_member("a")


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
TOWER: list[Any] = []
for _ in range(400):
    TOWER = [TOWER]


@pytest.mark.parametrize(
    "deep",
    [
        {"list": [1, 2.5, None, True, "x", b"y", 2**70], "empty": {}, "tuple": ([],)},
        [{"many": [{"levels": [{}]}]}] * 3,
        {1: [{None: []}]},
        {"set": {1, 2}},
        {(1, (2,)): []},
        [Path("an object")],
        [defaultdict(list, key=[1])],
        TOWER,
    ],
    ids="{!r:.20}".format,
)
def test_a_copier_makes_independent_copies(deep: Any) -> None:
    """Equal to the last part, of the same types, and sharing nothing that can change.

    What a message does not carry may have come from a serializer of an application's own.
    """
    message = {"type": "x", "deep": deep}
    make_copy = copier(message)
    first, second = make_copy(), make_copy()
    assert first == second == message
    assert repr(first) == repr(message)
    assert not changeable(first) & (changeable(second) | changeable(message))


def changeable(value: Any) -> set[int]:
    """The identities of all parts that can change."""
    if isinstance(value, dict):
        return {id(value)}.union(*map(changeable, value.values()))
    if isinstance(value, tuple):
        return set().union(*map(changeable, value))
    if isinstance(value, list):
        return {id(value)}.union(*map(changeable, value))
    return {id(value)} if isinstance(value, set) else set()


def test_a_copier_of_a_flat_message() -> None:
    """Each copy is a dict of its own."""
    message = {"flat": 1, "text": "x"}
    make_copy = copier(message)
    assert make_copy() == message
    assert make_copy() is not message


def test_a_copier_of_a_message_that_contains_itself() -> None:
    """So does each copy, and not the message."""
    copied = copier({"deep": CYCLE})()["deep"]
    assert copied[0] is copied
    assert copied is not CYCLE


def test_a_fan_out_takes_the_memory_of_one_message() -> None:
    """What waits in a hundred mailboxes is one object; each receiver takes a copy of its own."""
    groups = LocalGroups(lambda channel: 10, expiry=None)
    for number in range(100):
        groups.join("room", f"own.{number}")
    message = {"type": "test", "list": [1]}
    groups.deliver_group("room", message)
    assert {id(mailbox._messages[0][1]) for mailbox in groups.mailboxes.values()} == {id(message)}
    taken = [mailbox.take() for mailbox in groups.mailboxes.values()]
    assert taken == [message] * 100
    assert len({id(one) for one in taken}) == 100
    assert len({id(one["list"]) for one in taken if one}) == 100


async def test_what_the_sender_changes_afterwards_arrives_nowhere() -> None:
    """Neither in a group nor in a channel, however deep the change."""
    layer = InMemoryChannelLayer()
    channels = [await layer.new_channel() for _ in range(2)]
    for group, members in {"one": channels[:1], "both": channels}.items():
        for channel in members:
            await layer.group_add(group, channel)
    message = {"type": "test", "list": [1]}
    await layer.group_send("one", message)
    await layer.group_send("both", message)
    await layer.send(channels[0], message)
    message["list"].append(2)
    received = [await layer.receive(channel) for channel in (*channels[:1] * 3, channels[1])]
    assert received == [{"type": "test", "list": [1]}] * 4
