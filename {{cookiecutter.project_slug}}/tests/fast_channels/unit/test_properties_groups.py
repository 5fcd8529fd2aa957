"""Delivery inside a process against sets and lists: any sequence of its operations."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fast_channels.layers.groups import LocalGroups

from ..support.properties import sequences

CAPACITY = 3

channels = st.sampled_from(["a", "b", "c"])
some_channels = st.lists(channels, min_size=1, max_size=3, unique=True)
groups = st.sampled_from(["red", "green"])


class GroupsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.local_groups = LocalGroups(lambda channel: CAPACITY, expiry=None)
        self.waiting: dict[str, list[int]] = {}  # open channels and the messages in them
        self.members: dict[str, set[str]] = {}  # never an empty set
        self.sent = self.dropped = 0

    @rule(channel=channels)
    def open(self, channel: str) -> None:
        self.local_groups.mailbox_of(channel)
        self.waiting.setdefault(channel, [])

    @rule(channel=channels)
    def close(self, channel: str) -> None:
        """It says which groups have no member any more."""
        left = [group for group, names in self.members.items() if names == {channel}]
        assert sorted(self.local_groups.close(channel)) == sorted(left)
        self.waiting.pop(channel, None)
        for group in list(self.members):
            self.remove(group, channel)

    @rule(channel=channels)
    def close_if_idle(self, channel: str) -> None:
        self.local_groups.close_if_idle(channel)
        if not self.waiting.get(channel) and not self.groups_of(channel):
            self.waiting.pop(channel, None)

    @rule(group=groups, names=some_channels)
    def join(self, group: str, names: list[str]) -> None:
        for channel in names:
            self.local_groups.join(group, channel)
            self.waiting.setdefault(channel, [])
            self.members.setdefault(group, set()).add(channel)

    @rule(group=groups, channel=channels)
    def leave(self, group: str, channel: str) -> None:
        """It says whether this was the group's last member."""
        last = self.members.get(group) == {channel}
        assert self.local_groups.leave(group, channel) == last
        self.remove(group, channel)

    @rule(channel=channels)
    def deliver(self, channel: str) -> None:
        self.local_groups.deliver(channel, self.message())
        if channel in self.waiting:
            self.put(channel)

    @rule(group=groups)
    def deliver_group(self, group: str) -> None:
        self.local_groups.deliver_group(group, self.message())
        for channel in self.members.get(group, ()):
            self.put(channel)

    @rule(names=some_channels)
    def take(self, names: list[str]) -> None:
        """The oldest message, as it was sent, whatever other receivers did to their copies."""
        for channel in self.waiting.keys() & names:
            message = self.local_groups.mailboxes[channel].take()
            if message is None:
                assert self.waiting[channel] == []
            else:
                assert message == {"number": self.waiting[channel].pop(0), "list": []}
                message["list"].append("mine")

    @precondition(lambda self: self.sent % 10 == 9)  # seldom: it empties all
    @rule()
    def clear(self) -> None:
        self.local_groups.clear()
        self.members.clear()
        for messages in self.waiting.values():
            messages.clear()

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert {name: len(box) for name, box in self.local_groups.mailboxes.items()} == {
            name: len(messages) for name, messages in self.waiting.items()
        }
        assert {
            group: set(names) for group, names in self.local_groups.members.items()
        } == self.members
        for channel in ("a", "b", "c"):
            assert self.local_groups.is_member(channel) == bool(self.groups_of(channel))
        assert self.local_groups.drops.total == self.dropped

    def message(self) -> dict[str, Any]:
        self.sent += 1
        return {"number": self.sent, "list": []}

    def has_room(self, channel: str) -> bool:
        return len(self.waiting[channel]) < CAPACITY

    def put(self, channel: str) -> None:
        if self.has_room(channel):
            self.waiting[channel].append(self.sent)
        else:
            self.dropped += 1

    def groups_of(self, channel: str) -> set[str]:
        return {group for group, names in self.members.items() if channel in names}

    def remove(self, group: str, channel: str) -> None:
        names = self.members.get(group, set())
        names.discard(channel)
        if not names:
            self.members.pop(group, None)


def test_local_groups() -> None:
    """Members, mailboxes, returned values and counts agree with the model after each step."""
    run_state_machine_as_test(GroupsMachine, settings=sequences(75, 50))
