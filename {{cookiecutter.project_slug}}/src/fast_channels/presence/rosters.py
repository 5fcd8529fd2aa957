"""Rosters: who is in which group, as all processes of an app see it. What keeps them is not known here.

A *process* is one event loop of one process, under an id that is never used a second time. It *holds* a
key in a group while connections here say that they are it, and for the grace after the last of them
has left. A roster says for each key what each process holds; a key is there while anybody holds it.

Invariants, which each ``Rosters`` keeps whatever is repeated, lost, late or done by several at once
- A write says what ONE process holds of some keys, "P has exactly this of them": to repeat it changes
  nothing. It carries a number that grows with each write of P; what is older than the last is refused.
- The *registry* is one lease for each process, by the clock of what keeps it. P is in the registry before
  anything of P is written to a roster. So what is in a roster while P, asked for later, is not in the
  registry is dead for ever. Nothing that is written in two places has to be atomic.
- Dead is final. Whoever finds P dead ends it in a roster by writes of P's with the number ``ENDING``, which
  refuse whatever of P may still be under way, and by one with ``DEAD`` when nothing of it is left. A
  process that finds itself swept, refused, or in an older state than it was told, goes on under a new id
  and writes all that it holds again.
- Nobody is swept for an outage: a lease that has ended is taken out only by a process that has held its
  own for a whole lease without a gap, and absence proves nothing in a registry younger than a lease (or
  than two of the layer's timeouts, if those are longer).
- Each change that can be seen (a key comes, goes, has other info or connections) raises the roster's
  version by one and is in one notice, if anybody watches. Who has seen each version up to one knows the
  roster of that version. An emptied roster goes on under another epoch.
- What P has not confirmed in a roster for ``STALE`` leases is dead there, whatever the registry says, and
  whoever knows a roster reads it anew as often: a server may have come back with an older state, in which
  the same version is another one, and have told nobody. What nobody confirms expires after ``EXPIRES``.
- ``connections`` changes as late as it can: it stays while it is between the connections that are there
  and those with the ones that left within their grace. So a reconnection elsewhere changes nothing.
"""

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple, Protocol

from ..exceptions import FastChannelsError, MessageTooLarge, UndecodableMessage
from ..layers.throttled import ThrottledWarning
from ..mailbox import Message

logger = logging.getLogger(__name__)

DEAD = 2**53 - 1  # the number of a last write; the largest integer that Lua knows exactly
ENDING = DEAD - 1
STALE = 20  # leases
EXPIRES = 120  # leases
WATCHED = 10  # leases that a roster tells changes after somebody said to watch it
PAGE = 500  # keys

undecodable = ThrottledWarning(logger, "%d info(s) skipped, the last: %s")


class PresenceFull(FastChannelsError):
    """A group already has as many members as ``max_members`` allows."""


class Hold(NamedTuple):
    """What a process holds of a key: connections, and those that left within their grace.

    ``fresh``: the info is news, and counts before what others said earlier.
    """

    live: int
    lingering: int
    info: bytes
    fresh: bool = False


Holds = Mapping[str, Hold]  # by key


class Seen(NamedTuple):
    """A key of a roster, as everybody sees it; one that has left has no connections and no info."""

    key: str
    connections: int
    info: bytes


class Member(NamedTuple):
    """``connections``: how many there are, in all processes; a key within its grace keeps its number."""

    key: str
    info: Message
    connections: int


class Notice(NamedTuple):
    """The changes that raised a roster's version from ``version``, by one each: the keys as they are then."""

    epoch: bytes
    version: int
    changes: list[Seen]


class Written(NamedTuple):
    """``"refused"``: the process is dead, or has written something newer. ``"lost"``: the roster lacks
    what the process has written before. ``no_room``: keys for which there was none, if it was done;
    ``epoch`` and ``version`` are then the roster's that has all that was written.
    """

    outcome: Literal["done", "refused", "lost"]
    no_room: list[str]
    epoch: bytes = b""
    version: int = 0


class Page(NamedTuple):
    """Keys in the order of their UTF-8 bytes; ``end`` is the last one looked at, None if that is all."""

    epoch: bytes
    version: int
    members: list[Seen]
    end: str | None


class State(NamedTuple):
    """``numbers``: of each process's last write. ``stale``: those that did not confirm it for long."""

    epoch: bytes
    version: int
    numbers: Mapping[str, int]
    stale: frozenset[str]


class Lease(NamedTuple):
    """``lapsed``: it had ended before it was renewed. ``age`` of the registry, in seconds."""

    deadline: int  # in milliseconds, by the registry's clock
    lapsed: bool
    age: float
    processes: frozenset[str]


Listener = Callable[[Notice], None]


class Rosters(Protocol):
    """All may raise ``ChannelLayerUnavailable``, after which nobody knows whether it was done."""

    async def renew(
        self, process: str, deadline: int | None, *, lease: float, may_sweep: bool
    ) -> Lease | None:
        """Let the lease of a process last from now on; None if it does not have it any more.

        ``deadline`` is the last that it was told, None if it is new.
        """
        ...

    async def resign(self, process: str, *, within: float) -> None:
        """The process ends: it is dead in so many seconds."""
        ...

    async def write(
        self, group: str, process: str, number: int, holds: Holds, *, limit: int, after: int = 0
    ) -> Written:
        """``after``: the number of the process's last write that was confirmed."""
        ...

    async def state(self, group: str, process: str, *, watch: bool) -> State:
        """Confirms what the process holds. ``watch``: changes are to be told from now on."""
        ...

    async def page(self, group: str, after: str, count: int, *, of: str = "") -> Page:
        """Up to ``count`` keys behind ``after``; ``of`` leaves out what that process does not hold."""
        ...

    async def listen(self, group: str, listener: Listener) -> None:
        """Have the notices of a group from now on; some may be missed."""
        ...

    def ignore(self, group: str, listener: Listener) -> None: ...

    def when_doubtful(self, look: Callable[[], None]) -> Callable[[], None]:
        """Have ``look()`` called when notices may have been missed, or a state may have been lost, until
        what is returned is called.
        """
        ...

    def seal(self, group: str, key: str, info: Message, most: int) -> bytes:
        """Info as bytes, bound to its place; ``MessageTooLarge`` for more than ``most``."""
        ...

    def unseal(self, group: str, key: str, sealed: bytes) -> Message:
        """``UndecodableMessage`` for what was not sealed with our keys, or for another place."""
        ...


def check_size(packed: bytes, most: int) -> None:
    if len(packed) > most:
        raise MessageTooLarge(f"The info takes {len(packed)} bytes; max_info allows {most}")


def members_of(rosters: Rosters, group: str, seen: Iterable[Seen]) -> list[Member]:
    """With their info; what somebody else wrote is left out, and counted."""
    members = []
    for key, connections, sealed in seen:
        try:
            members.append(Member(key, rosters.unseal(group, key, sealed), connections))
        except UndecodableMessage as error:
            undecodable.add(error)
    return members


async def pages_of(
    rosters: Rosters, group: str, *, of: str = "", after: str = "", most: int = sys.maxsize
) -> list[Page]:
    """Of a roster up to ``most`` keys behind ``after``, which are all of them; ``of`` as of ``page``."""
    pages: list[Page] = []
    end: str | None = after
    while end is not None and most > 0:
        pages.append(page := await rosters.page(group, end, min(PAGE, most), of=of))
        end, most = page.end, most - len(page.members)
    return pages
