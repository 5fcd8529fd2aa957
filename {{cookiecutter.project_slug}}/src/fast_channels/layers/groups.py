"""Delivery inside one process: which channels live here, which of them are in which group.

Every layer delivers through this module, so that capacity, expiry, overflow and the independence of
receivers exist once. It does no I/O and knows no broker.

Invariants
- A channel has one mailbox from ``mailbox_of()`` until ``close()``; closing it leaves all its groups.
- ``mailboxes`` holds valid names only: a caller that finds a channel here need not check its name again.
- ``members[g]`` is never empty: the last member that leaves removes the group. ``followers[g]`` is
  never empty either, and holds members only, or channels that are about to become one.
- Each receiver takes its own copy of a message: what one handler changes, no other sees, nor what the
  sender changes afterwards.
"""

import copy
import logging
import marshal
import time
from collections.abc import Callable
from functools import partial

from ..mailbox import Entry, Mailbox, Message, Overflow
from ..messages import is_flat
from .history import POSITION
from .throttled import ThrottledWarning

logger = logging.getLogger(__name__)


def copier(message: Message) -> Callable[[], Message]:
    """A function that makes one more independent copy of ``message`` each time it is called.

    Most messages are flat: a shallow copy of those is independent. Marshal copies the rest four to ten
    times faster than a deep copy does, which is left for what an own serializer may have made.
    """
    if is_flat(message):
        return message.copy
    try:
        return partial(marshal.loads, marshal.dumps(message))
    except ValueError:  # it holds what a message does not carry
        return lambda: copy.deepcopy(message)


def _shared(message: Message, members: dict[str, Mailbox]) -> Entry:
    return time.monotonic(), message, copier(message) if len(members) > 1 else None


class LocalGroups:
    """The channels and groups of one process (in the Redis layers: of one event loop)."""

    def __init__(self, capacity_of: Callable[[str], int], expiry: float | None) -> None:
        self._capacity_of = capacity_of
        self._expiry = expiry
        self.mailboxes: dict[str, Mailbox] = {}
        self.members: dict[str, dict[str, Mailbox]] = {}
        # Members that joined with positions; False for those that nothing is delivered to yet.
        self.followers: dict[str, dict[str, bool]] = {}
        self._groups_of: dict[str, tuple[str, ...]] = {}  # a set takes 216 bytes for one group, too
        self._when_closed: dict[str, dict[Callable[[str], None], None]] = {}  # in order
        self._on_expired = self.count_expired  # one bound method for all
        self.expirations = ThrottledWarning(
            logger, "%d message(s) dropped that nobody read for %s s"
        )
        self.drops = ThrottledWarning(
            logger, "%d message(s) dropped, the last for full channel %s (capacity %d, policy %s)"
        )

    def mailbox_of(self, channel: str, overflow: Overflow | None = None) -> Mailbox:
        """The mailbox of ``channel``, made if there is none; ``overflow`` changes its policy."""
        mailbox = self.mailboxes.get(channel)
        if mailbox is None:
            mailbox = self.mailboxes[channel] = Mailbox(
                self._capacity_of(channel), expiry=self._expiry, on_expired=self._on_expired
            )
        if overflow is not None:
            mailbox.set_overflow(overflow)
        return mailbox

    def close(self, channel: str) -> list[str]:
        """Forget ``channel``; returns the groups that have no member left by it."""
        self.mailboxes.pop(channel, None)
        for closed in self._when_closed.pop(channel, ()):
            closed(channel)
        groups = self._groups_of.pop(channel, ())
        return [group for group in groups if self._remove(group, channel)]

    def when_closed(self, channel: str, closed: Callable[[str], None]) -> None:
        """Have ``closed(channel)`` called once, however often this is said, when the channel is closed:
        for what belongs to it elsewhere.
        """
        self._when_closed.setdefault(channel, {})[closed] = None

    def ignore_close(self, channel: str, closed: Callable[[str], None]) -> None:
        """Nothing belongs to it there any more."""
        if (others := self._when_closed.get(channel)) is not None:
            others.pop(closed, None)

    def close_if_idle(self, channel: str) -> None:
        """Forget a named channel in which nothing waits; a group's member stays."""
        mailbox = self.mailboxes.get(channel)
        if mailbox is not None and mailbox.idle and channel not in self._groups_of:
            del self.mailboxes[channel]

    def join(self, group: str, channel: str) -> None:
        members = self.members.setdefault(group, {})
        if channel not in members:
            members[channel] = self.mailbox_of(channel)
            self._groups_of[channel] = (*self._groups_of.get(channel, ()), group)

    def leave(self, group: str, channel: str) -> bool:
        """True if no member is left here by that."""
        groups = self._groups_of.get(channel, ())
        if group not in groups:
            return False
        remaining = tuple(other for other in groups if other != group)
        if remaining:
            self._groups_of[channel] = remaining
        else:
            del self._groups_of[channel]
        return self._remove(group, channel)

    def follow(self, group: str, channel: str, *, ready: bool) -> None:
        """A member is to get positions; nothing at all as long as it is not ready."""
        self.followers.setdefault(group, {})[channel] = ready

    def unfollow(self, group: str, channel: str) -> None:
        if (followers := self.followers.get(group)) is not None:
            followers.pop(channel, None)
            if not followers:
                del self.followers[group]

    def is_member(self, channel: str) -> bool:
        return channel in self._groups_of

    def notify_consumers(self, message: Message) -> None:
        """Put a copy of the layer's own event into each mailbox that a consumer takes from."""
        for mailbox in list(self.mailboxes.values()):
            if mailbox.wants_events:
                mailbox.put(message.copy())

    def deliver(self, channel: str, message: Message) -> None:
        """Put ``message``, which becomes the receiver's own, into the channel's mailbox if it is open."""
        mailbox = self.mailboxes.get(channel)
        if mailbox is not None and not mailbox.put(message):
            self._count_drop(channel, mailbox)

    def deliver_group(self, group: str, message: Message) -> None:
        """Put ``message``, which becomes the members' own, into each one's mailbox.

        It is shared until they take their copies: in a thousand mailboxes it has the size of one.
        A mailbox that is full drops, which is counted.
        """
        members = self.members.get(group)
        if not members:
            return
        entry = _shared(message, members)
        for channel, mailbox in list(members.items()):
            if not mailbox.put_entry(entry):
                self._count_drop(channel, mailbox)

    def deliver_event(self, group: str, message: Message, position: str) -> None:
        """As ``deliver_group``, in a group with followers: those get the position as well."""
        members, followers = self.members.get(group), self.followers.get(group, {})
        if not members:
            return
        plain = _shared(message, members)
        event = _shared({**message, POSITION: position}, members)
        for channel, mailbox in list(members.items()):
            ready = followers.get(channel)
            if ready is not False and not mailbox.put_entry(event if ready else plain):
                self._count_drop(channel, mailbox)

    def clear(self) -> None:
        """Drop every waiting message and every membership; open mailboxes stay open."""
        for mailbox in self.mailboxes.values():
            while mailbox.take() is not None:
                pass
        self.members.clear()
        self.followers.clear()
        self._groups_of.clear()

    def _remove(self, group: str, channel: str) -> bool:
        members = self.members[group]
        members.pop(channel, None)
        self.unfollow(group, channel)
        if members:
            return False
        del self.members[group]
        return True

    def count_expired(self, count: int) -> None:
        if count:
            self.expirations.add(self._expiry, count=count)

    def _count_drop(self, channel: str, mailbox: Mailbox) -> None:
        self.drops.add(channel, mailbox.capacity, mailbox.overflow)
