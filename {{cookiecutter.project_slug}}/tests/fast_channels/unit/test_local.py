"""Channels and groups inside one process, without a loop."""

import logging
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from fast_channels.layers import InMemoryChannelLayer
from fast_channels.layers.groups import LocalGroups, copier
from fast_channels.layers.throttled import LOG_INTERVAL, ThrottledWarning


@pytest.fixture
def local() -> LocalGroups:
    return LocalGroups(lambda channel: 2 if channel.startswith("small") else 10, expiry=None)


def waiting(local: LocalGroups, channel: str) -> list[Any]:
    mailbox = local.mailboxes[channel]
    return [mailbox.take() for _ in range(len(mailbox))]


def test_a_channel_has_one_mailbox_with_its_capacity(local: LocalGroups) -> None:
    """Opening again gives the same one; another policy may be set then."""
    mailbox = local.mailbox_of("small")
    assert local.mailbox_of("small", "drop_oldest") is mailbox
    assert (mailbox.capacity, mailbox.overflow) == (2, "drop_oldest")
    with pytest.raises(ValueError, match="overflow"):
        local.mailbox_of("small", "typo")  # type: ignore[arg-type]


def test_the_first_joins_and_the_last_leaves(local: LocalGroups) -> None:
    """`join` and `leave` tell when the process's part of a group begins and ends."""
    assert local.join("room", "a")
    assert not local.join("room", "b")
    assert not local.join("room", "b")
    assert not local.leave("room", "stranger")
    assert not local.leave("room", "a")
    assert local.leave("room", "b")
    assert not local.leave("room", "b")
    assert (local.members, local.is_member("b")) == ({}, False)


def test_closing_leaves_all_groups(local: LocalGroups) -> None:
    """It returns the groups that are empty by it; the mailbox is gone."""
    for group in ("mine", "ours", "also mine"):
        local.join(group, "a")
    local.join("ours", "b")
    assert sorted(local.close("a")) == ["also mine", "mine"]
    assert list(local.members) == ["ours"]
    assert "a" not in local.mailboxes
    assert local.close("a") == []


def test_an_idle_named_channel_is_forgotten_unless_a_member(local: LocalGroups) -> None:
    """So that names that were used once take no memory."""
    local.mailbox_of("idle")
    local.mailbox_of("filled").put({})
    local.join("room", "member")
    for channel in ("idle", "filled", "member", "unknown"):
        local.close_if_idle(channel)
    assert set(local.mailboxes) == {"filled", "member"}


def test_a_group_message_reaches_each_member_as_a_copy(local: LocalGroups) -> None:
    """Each gets a message of its own; a full one misses it, which is counted."""
    for channel in ("a", "b", "small"):
        local.join("room", channel)
    for number in range(3):
        local.deliver_group("room", {"n": number, "deep": []})
    received = {channel: waiting(local, channel) for channel in ("a", "b", "small")}
    assert [m["n"] for m in received["a"]] == [0, 1, 2]
    assert [m["n"] for m in received["small"]] == [0, 1]
    assert received["a"][0] == received["b"][0]
    assert received["a"][0] is not received["b"][0]
    assert received["a"][0]["deep"] is not received["b"][0]["deep"]
    assert local.drops.total == 1
    local.deliver_group("unknown", {})


def test_a_message_to_a_closed_channel_is_nobodys(local: LocalGroups) -> None:
    """`deliver` says so, and makes no mailbox."""
    assert not local.deliver("closed", {})
    local.mailbox_of("small")
    assert [local.deliver("small", {}) for _ in range(3)] == [True, True, False]
    assert (list(local.mailboxes), local.drops.total) == (["small"], 1)


def test_only_consumers_are_told_of_the_layers_events(local: LocalGroups) -> None:
    """A mailbox that a consumer takes from gets a copy; a plain receiver's does not."""
    local.mailbox_of("plain")
    local.mailbox_of("consumer").wants_events = True
    event = {"type": "layer.reconnected"}
    local.notify_consumers(event)
    (told,) = waiting(local, "consumer")
    assert told == event
    assert told is not event
    assert waiting(local, "plain") == []


def test_clear_keeps_the_mailboxes(local: LocalGroups) -> None:
    """Messages and memberships go; open channels stay open."""
    local.join("room", "a")
    local.deliver_group("room", {})
    local.clear()
    assert (local.members, waiting(local, "a")) == ({}, [])
    assert not local.is_member("a")


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


def test_a_tally_counts_all_and_logs_little(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first event is logged at once, then at most one line an interval, with the number."""
    now = 1000.0
    monkeypatch.setattr("fast_channels.layers.throttled.time.monotonic", lambda: now)
    tally = ThrottledWarning(logging.getLogger("test"), "%d lost, the last: %s")
    for number in range(5):
        tally.add(number)
    now += LOG_INTERVAL
    tally.add("late")
    assert [r.getMessage() for r in caplog.records] == [
        "1 lost, the last: 0",
        "5 lost, the last: late",
    ]
    assert tally.total == 6


def test_a_fan_out_takes_the_memory_of_one_message() -> None:
    """What waits in a hundred mailboxes is one object; who takes it gets a copy of his own."""
    local = LocalGroups(lambda channel: 10, expiry=None)
    for number in range(100):
        local.join("room", f"own.{number}")
    message = {"type": "test", "list": [1]}
    local.deliver_group("room", message)
    assert {id(mailbox._messages[0][1]) for mailbox in local.mailboxes.values()} == {id(message)}
    taken = [mailbox.take() for mailbox in local.mailboxes.values()]
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
