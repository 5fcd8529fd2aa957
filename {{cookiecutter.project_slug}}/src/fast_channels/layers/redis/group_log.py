"""The strategy that follows a log: what one event loop has heard of each, and how it catches up.

Words
- The log of a topic (a group, or the inbox of a process) is a stream; a *notification* brings an entry
  of it to those that listen. ``admit`` is the one way in for both.
- A *position* is where the loop is in one log. It is *behind* from the moment at which the topic is
  about to be subscribed again until it has caught up; what is notified meanwhile waits in the log.

Invariants
- What a position is behind by is an object, compared by identity: it changes with each subscription,
  and what was asked before it proves nothing any more. A position stops to be behind only by an
  answer that was asked for after the subscription was confirmed.
- Entry ids only ascend in one log. While the newest entry that was heard stands in the log, all before
  it was heard, and what follows it was not: so recovery costs what was missed, and a topic that missed
  nothing costs one comparison in a batch.
- If it does not stand there (a new primary lacks the last entries of the old one and goes on with ids
  below theirs; the log was trimmed, emptied or restored) recovery begins ``OVERLAP`` seconds before it,
  or, if the log has nothing so new, when the outage began by the server's own clock. Where something
  may be missing the members are told.
- Nothing is handed out twice: ``Seen`` knows the uids of the last ``SEEN_SECONDS``, longer than a sender
  repeats a message and longer than ``OVERLAP``, and forgets none by time while something is behind.
- Nothing older than the joining is handed out.
- An id is believed if it is one and no further ahead of the last one, and of the server's clock, than
  ``OVERLAP``. One that is further ahead moves nothing: what the log itself says is true.
- One task for each server recovers its topics, a bounded number at once, and hands out for ``TURN``
  seconds before the loop goes on. What fails stays with its topic and is tried again.
- A topic waits only for the mailboxes of its own members, and not again for one that made no progress.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Container, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import groupby
from operator import itemgetter
from typing import Any

from ...exceptions import UndecodableMessage
from ...mailbox import Mailbox
from ...tasks import cancel_and_wait
from ..history import History
from ..throttled import ThrottledWarning
from . import scripts
from .client.commands import DIRECT, PUBLISH
from .client.connection import Command
from .format import FIRST, Messages, decode
from .loop_layer import LoopLayer, Strategy

logger = logging.getLogger(__name__)

OVERLAP = 5.0  # seconds
SEEN_SECONDS = 30.0
SEEN_MAX = 50_000  # uids that are remembered if they come within that time; twice as many at most

COMPARED = 250  # topics that are compared at once, by
COMMANDS = 50  # commands at once: in a Cluster each slot takes one
READ = 32  # topics whose logs are read at once
PAGE = 50  # entries that are read of each; less than a mailbox holds by default
HELD = 50  # notifications that are kept while a page is read, and
HELD_BYTES = 256 * 1024
TURN = 0.004  # seconds
CACHED_TOPICS = 4096
SETTLE = 0.002  # seconds between two looks at a subscription that another caller makes
PATIENCE = 0.5  # seconds that a topic waits for its members' mailboxes, and
STRIKES = 4  # how often it waits for one that makes progress, but too little
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds before a topic that failed is tried again

EntryId = int  # milliseconds and the number, 64 bits each, as one
MASK = (1 << 64) - 1
MOST_DIGITS = len(f"{MASK}-{MASK}")
NOWHERE: EntryId = -1  # the position of a topic that is being joined

Entry = tuple[bytes, list[bytes]]  # id, and fields and values in turn


def parse_id(entry: bytes) -> EntryId:
    milliseconds, _, number = entry.partition(b"-")
    if milliseconds.isdigit() and number.isdigit() and len(entry) <= MOST_DIGITS:
        high, low = int(milliseconds), int(number)
        if (high | low) <= MASK:
            return high << 64 | low
    raise UndecodableMessage(f"{entry[:50]!r} is no id of an entry")


def format_id(entry: EntryId) -> str:
    return f"{entry >> 64}-{entry & MASK}"


def id_at(milliseconds: float) -> EntryId:
    """The lowest one of that time."""
    return max(int(milliseconds), 0) << 64


AHEAD = id_at(OVERLAP * 1000)


@dataclass(eq=False, slots=True)
class Outage:
    """What positions are behind by until they are compared with their logs: a batch shares one."""

    since: float  # nothing was missed before, by time.monotonic
    confirmed: bool = False  # subscribed again

    def hold(self, data: bytes) -> bool:
        """Keep a notification for later; False if it has to be read from the log."""
        return False


class Position:
    """Where the loop is in one log."""

    __slots__ = ("behind", "clock", "epoch", "joined", "joined_at", "last", "missed", "topic")

    def __init__(self, topic: str, joined: EntryId = NOWHERE) -> None:
        self.topic = topic
        self.joined = self.last = joined
        self.joined_at = time.monotonic()
        self.clock = 0.0  # the server's clock less time.monotonic(), in milliseconds
        self.epoch = ""  # known only of topics that are followed
        self.behind: Outage | None = Outage(self.joined_at, confirmed=True)
        self.missed = False  # something was notified, and not kept, since the log was last asked

    def believes(self, entry: EntryId) -> bool:
        return entry <= self.last + AHEAD or entry <= id_at(self.server_time()) + AHEAD

    def server_time(self) -> float:
        """In milliseconds."""
        return time.monotonic() * 1000 + self.clock

    def has_not_heard(self, entry: EntryId) -> bool:
        """One from before the joining, whose message a sender may still repeat."""
        youngest = id_at(self.server_time() - SEEN_SECONDS * 1000)
        return youngest < entry <= self.joined

    def advance(self, entry: EntryId) -> None:
        if entry > self.last:
            self.last = entry

    def restart(self, entry: EntryId) -> None:
        """The log is another one: what comes behind this id is new."""
        self.joined = self.last = entry

    def read_after(self, outage: Outage) -> "Reading":
        """From now on it is behind by that."""
        reading = self.behind = Reading(outage.since, True, position=self)
        return reading


@dataclass(eq=False, slots=True, kw_only=True)
class Reading(Outage):
    """A log that is being read, a page at a time."""

    position: Position
    cursor: EntryId | None = None  # the last entry that was read
    pause: float = FIRST_PAUSE
    _held: list[bytes] | None = None  # while a page is read
    _size: int = 0

    @property
    def current(self) -> bool:
        return self.position.behind is self

    def begin(self) -> None:
        self._held, self._size = [], 0
        self.position.missed = False

    def hold(self, data: bytes) -> bool:
        if self._held is None or len(self._held) >= HELD or self._size > HELD_BYTES:
            return False
        self._held.append(data)
        self._size += len(data)
        return True

    def release(self) -> list[bytes]:
        held, self._held = self._held, None
        return held or []


class Seen:
    """The uids of the messages that were handed out lately, as numbers.

    There are two generations, of which the older one is dropped when the newer one has been filled for
    ``SEEN_SECONDS``, or with ``SEEN_MAX`` uids, some 5 MB.
    """

    def __init__(self) -> None:
        self.keep = False  # by time none is forgotten
        self._newer: set[int] = set()
        self._older: set[int] = set()
        self._turn_at = time.monotonic() + SEEN_SECONDS

    def add(self, uids: Sequence[int]) -> Sequence[int]:
        """Those that were not added before; ``uids`` itself if that is all of them."""
        now = time.monotonic()
        if (now >= self._turn_at and not self.keep) or len(self._newer) >= SEEN_MAX:
            self._older, self._newer = self._newer, set()
            self._turn_at = now + SEEN_SECONDS
        newer, older = self._newer, self._older
        if not (newer.isdisjoint(uids) and older.isdisjoint(uids)):
            uids = [uid for uid in uids if uid not in newer and uid not in older]
        newer.update(uids)
        return uids


@dataclass(eq=False, slots=True)
class Lane:
    """What is to be recovered from one server, by one task."""

    # By outage: objects for 40,000 positions had the garbage collector stop the loop for half a second.
    compare: deque[tuple[list[Position], Outage]] = field(default_factory=deque)
    read: deque[Reading] = field(default_factory=deque)
    put_off: int = 0  # how much is to be done later
    news: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None
    pause: float = FIRST_PAUSE

    def later(self, delay: float, work: Callable[[], None]) -> None:
        """Unless the task has ended by then."""
        self.put_off += 1
        asyncio.get_running_loop().call_later(delay, self._do, work)

    def _do(self, work: Callable[[], None]) -> None:
        self.put_off -= 1
        if self.task is not None and not self.task.done():
            work()
            self.news.set()


class GroupLog(Strategy):
    """``kept`` says how much of a topic its log keeps at least."""

    keeps = True
    followed: Container[str] = ()  # topics of which the epoch is wanted

    def __init__(self, owner: LoopLayer, kept: Callable[[str], History]) -> None:
        self._owner = owner
        self._kept = lru_cache(CACHED_TOPICS)(kept)
        self._positions: dict[str, Position] = {}
        self._seen = Seen()
        self._lanes: dict[object, Lane] = {}
        self._turn = 0.0
        self._impatience: dict[Mailbox, int] = {}  # strikes of this recovery
        self._told: set[Mailbox] = set()  # of a gap, in this recovery
        self.failures = ThrottledWarning(
            logger, "%d time(s) a topic could not be recovered, the last: %s: %r"
        )

    def publish(self, topic: str, uid: bytes, messages: list[bytes]) -> Command:
        kept = self._kept(topic)
        limits = kept.messages, int(kept.seconds * 1000)
        return scripts.PUBLISH.command((topic,), uid, *limits, PUBLISH, DIRECT, *messages)

    # Joining and leaving

    async def join(self, topic: str, subscribe: Callable[[], Any]) -> None:
        """``subscribe()`` is awaited, again if its connection is lost. What comes later is ours."""
        position = self._positions.setdefault(topic, Position(topic))
        await subscribe()
        while position.last == NOWHERE and (outage := position.behind) is not None:
            if not outage.confirmed:
                await asyncio.sleep(SETTLE)  # another caller joins the topic at the same time
                await subscribe()
                continue
            position.missed = False
            clock, _, (newest,) = await self._ask([topic], joining=True)
            if position.last == NOWHERE and position.behind is outage:
                position.clock = clock
                position.joined_at = time.monotonic()
                position.restart(parse_id(newest) if newest else 0)
                self._caught_up_unless_missed(position, outage)

    def leave(self, topic: str) -> None:
        position = self._positions.pop(topic, None)
        if position is not None:
            position.behind = None  # what is being read is for nobody

    def restart(self) -> None:
        """All logs were deleted."""
        for position in self._positions.values():
            position.restart(0)

    async def aclose(self) -> None:
        await cancel_and_wait([lane.task for lane in self._lanes.values() if lane.task is not None])

    # What comes in

    def hear(self, topic: str, data: bytes) -> None:
        parts = data.split(b" ", 2)
        if len(parts) < 3:
            raise UndecodableMessage("A notification without the id of its log entry")
        identifier, before, envelope = parts
        entry = parse_id(identifier)
        position = self._positions.get(topic)
        if position is None:
            return
        if position.behind is not None:
            if not position.behind.hold(data):
                position.missed = True
            return
        last = position.last
        if (entry > last + AHEAD and not position.believes(entry)) or (
            before != b"-" and parse_id(before) > last
        ):
            self.fall_behind(position)
            return
        messages = self.admit(envelope)
        if entry > last:
            position.last = entry
        self._owner.deliver(topic, messages, data)

    def admit(self, envelope: bytes, behind: int = 0) -> Messages:
        """The messages in an envelope that were not handed out before; ``behind`` is as in ``decode``."""
        messages = decode(envelope, behind)
        first, number = messages[0][2], len(messages)
        # For one message a tuple: to look it up and to add it takes half the time that a range takes.
        uids: Sequence[int] = (first,) if number == 1 else range(first, first + number)
        fresh = self._seen.add(uids)
        if fresh is uids:
            return messages
        return [messages[uid - first] for uid in fresh]

    # Falling behind

    def on_subscribing(self, topics: list[str], since: float) -> Outage:
        positions = [p for topic in topics if (p := self._positions.get(topic)) is not None]
        outage = Outage(min([since, *(p.behind.since for p in positions if p.behind is not None)]))
        for position in positions:
            position.behind = outage
        return outage

    def on_lost(self) -> None:
        """Another recovery begins."""
        self._impatience.clear()
        self._told.clear()

    def on_subscribed(self, topics: list[str], outage: Outage) -> None:
        outage.confirmed = True
        by_server: dict[object, list[Position]] = {}
        for topic in topics:
            position = self._positions.get(topic)
            if position is not None and position.behind is outage:
                server = self._owner.commands_of(topic).server
                by_server.setdefault(server, []).append(position)
        for server, positions in by_server.items():
            self._lane(server).compare.append((positions, outage))

    def fall_behind(self, position: Position) -> None:
        """A notification seems to be lost: what there is comes from the log."""
        outage = position.behind = Outage(time.monotonic())
        self.on_subscribed([position.topic], outage)

    def _caught_up_unless_missed(self, position: Position, outage: Outage) -> None:
        if position.behind is not outage:
            return  # another one has begun, or the topic was left
        if position.missed:
            server = self._owner.commands_of(position.topic).server
            self._lane(server).read.append(position.read_after(outage))
        else:
            position.behind = None

    # Catching up

    def _lane(self, server: object) -> Lane:
        lane = self._lanes.get(server)
        if lane is None:
            lane = self._lanes[server] = Lane()
            self._seen.keep = True
            lane.task = asyncio.create_task(self._recover(server, lane))
        lane.news.set()
        return lane

    async def _recover(self, server: object, lane: Lane) -> None:
        try:
            while lane.compare or lane.read or lane.put_off:
                await self._compare_some(lane)
                await self._read_some(lane)
                if lane.put_off and not (lane.compare or lane.read):
                    lane.news.clear()
                    await lane.news.wait()
        finally:
            del self._lanes[server]
            if not self._lanes:
                self._seen.keep = False
                self.on_lost()

    async def _breathe(self) -> None:
        """Let the loop go on when this turn has been long enough."""
        if time.monotonic() - self._turn > TURN / len(self._lanes):
            await asyncio.sleep(0)
            self._turn = time.monotonic()

    async def _ask(
        self, topics: list[str], *, joining: bool = False
    ) -> tuple[float, str, list[bytes]]:
        """The server's clock as positions have it, its epoch, and the ids of the newest entries."""
        with_epoch = int(not joining and any(topic in self.followed for topic in topics))
        server_time, epoch, *newest = await scripts.NEWEST.run(
            self._owner.commands_of(topics[0]), tuple(topics), with_epoch
        )
        return server_time - time.monotonic() * 1000, epoch.decode(), newest

    async def _compare_some(self, lane: Lane) -> None:
        parts: dict[object, list[tuple[Position, Outage]]] = {}
        number = 0
        while lane.compare and number < COMPARED:
            positions, outage = lane.compare.popleft()
            number += len(positions)
            for position in positions:
                # A caller that joins a topic asks by itself.
                if position.behind is outage and position.last != NOWHERE:
                    position.missed = False
                    part = self._owner.commands_of(position.topic).part
                    parts.setdefault(part, []).append((position, outage))
        asked = [[position.topic for position, _ in part] for part in parts.values()]
        replies: list[tuple[float, str, list[bytes]] | BaseException] = []
        for start in range(0, len(asked), COMMANDS):
            some = map(self._ask, asked[start : start + COMMANDS])
            replies += await asyncio.gather(*some, return_exceptions=True)
        self._turn = time.monotonic()
        failed: list[tuple[Position, Outage]] = []
        for part, reply in zip(parts.values(), replies, strict=True):
            if isinstance(reply, BaseException):
                failed += part
                continue
            clock, epoch, newest = reply
            for (position, outage), entry in zip(part, newest, strict=True):
                await self._breathe()
                if position.behind is outage:
                    position.clock, position.epoch = clock, epoch
                    await self._compare(lane, position, outage, entry)
        if failed:
            again = [([p for p, _ in some], o) for o, some in groupby(failed, itemgetter(1))]
            lane.later(lane.pause, partial(lane.compare.extend, again))
            lane.pause = min(lane.pause * 2, LONGEST_PAUSE)
        elif parts:
            lane.pause = FIRST_PAUSE

    async def _compare(self, lane: Lane, position: Position, outage: Outage, newest: bytes) -> None:
        if newest.startswith(b"!"):
            self._failed(lane, position.read_after(outage), newest[1:].decode(errors="replace"))
        elif newest == b"" and not position.missed:
            if position.last and self._is_young(position):
                await self._tell_gap(position.topic)
            position.restart(0)
            self._caught_up_unless_missed(position, outage)
        elif newest and parse_id(newest) == position.last:
            self._caught_up_unless_missed(position, outage)
        else:
            lane.read.append(position.read_after(outage))

    async def _read_some(self, lane: Lane) -> None:
        readings: list[Reading] = []
        while lane.read and len(readings) < READ:
            reading = lane.read.popleft()
            if reading.current:
                reading.begin()
                readings.append(reading)
        pages = await asyncio.gather(*map(self._fetch, readings), return_exceptions=True)
        self._turn = time.monotonic()
        for reading, page in zip(readings, pages, strict=True):
            try:
                if isinstance(page, BaseException):
                    raise page
                await self._hand_out(lane, reading, *page)
            except Exception as error:
                self._failed(lane, reading, error)

    def _failed(self, lane: Lane, reading: Reading, error: object) -> None:
        reading.release()
        self.failures.add(reading.position.topic, error)
        lane.later(reading.pause, partial(lane.read.append, reading))
        reading.pause = min(reading.pause * 2, LONGEST_PAUSE)

    # Reading

    async def _fetch(self, reading: Reading) -> tuple[list[Entry], bool]:
        """The next page, and whether it goes to the end."""
        position = reading.position
        if reading.cursor is not None:
            return await self._page(position, reading.cursor + 1)
        last = position.last
        page, at_end = await self._page(position, last)
        if last == 0:
            return page, at_end
        if page and parse_id(page[0][0]) == last:
            return page[1:], at_end
        return await self._fetch_without_last(reading)

    async def _fetch_without_last(self, reading: Reading) -> tuple[list[Entry], bool]:
        position = reading.position
        topic = position.topic
        page, at_end = await self._page(position, max(position.last - AHEAD, position.joined + 1))
        if page and parse_id(page[0][0]) <= position.last:
            return page, at_end
        if page:
            length = await self._owner.commands_of(topic).execute("XLEN", topic)
            if length >= self._kept(topic).messages or self._is_young(position):
                await self._tell_gap(topic)
            return page, at_end
        position.clock, position.epoch, (newest,) = await self._ask([topic])
        if newest or self._is_young(position):
            await self._tell_gap(topic)
        deaf = time.monotonic() - max(reading.since - OVERLAP, position.joined_at)
        start = id_at(position.server_time() - deaf * 1000)
        if reading.current:
            position.restart(min(parse_id(newest) if newest else 0, max(start - 1, 0)))
        return await self._page(position, start)

    async def _page(self, position: Position, start: EntryId) -> tuple[list[Entry], bool]:
        topic = position.topic
        page: list[Entry] = await self._owner.commands_of(topic).execute(
            "XRANGE", topic, format_id(start), "+", "COUNT", PAGE
        )
        return page, len(page) < PAGE

    def _is_young(self, position: Position) -> bool:
        """Whether what was heard last has not expired, so that its log must still be there."""
        age = position.server_time() - (position.last >> 64)
        return age < self._kept(position.topic).seconds * 1000

    async def _tell_gap(self, topic: str) -> None:
        for mailbox in self._owner.members(topic):
            if mailbox.wants_events and mailbox not in self._told:
                self._told.add(mailbox)
                mailbox.put({"type": "layer.reconnected"})
                await self._breathe()

    async def _hand_out(
        self, lane: Lane, reading: Reading, page: list[Entry], at_end: bool
    ) -> None:
        position, topic = reading.position, reading.position.topic
        for number, (entry, fields) in enumerate(page, start=1):
            await self._breathe()
            if not reading.current:
                return
            reading.cursor = parse_id(entry)
            position.advance(reading.cursor)
            messages = self._open(topic, entry, fields)
            if messages and not (at_end and number == len(page)):
                crowded = self._crowded(self._owner.receivers(topic, messages))
                if crowded:
                    reading.release()
                    self._wait_for(lane, reading, crowded, time.monotonic() + PATIENCE)
                    return
        reading.pause = FIRST_PAUSE
        held = reading.release()
        if not at_end or position.missed:
            lane.read.append(reading)
        elif reading.current:
            position.behind = None
            for data in held:
                self._owner.on_message(topic.encode(), data)

    def _open(self, topic: str, entry: bytes, fields: list[bytes]) -> Messages:
        """Hand out the messages of an entry; returns them."""
        if fields[0] == FIRST:
            return []
        try:
            messages = self.admit(fields[1], int(fields[3]) if len(fields) > 2 else 0)
        except ValueError as error:  # somebody else's
            self._owner.undecodable.add(error)
            return []
        self._owner.deliver(topic, messages, entry)
        return messages

    # Pacing

    def _crowded(self, mailboxes: Collection[Mailbox]) -> list[tuple[Mailbox, int]]:
        """Those that should be waited for, and what they hold."""
        return [
            (mailbox, len(mailbox))
            for mailbox in mailboxes
            if len(mailbox) * 2 > mailbox.capacity and self._impatience.get(mailbox, 0) < STRIKES
        ]

    def _wait_for(
        self,
        lane: Lane,
        reading: Reading,
        crowded: list[tuple[Mailbox, int]],
        deadline: float,
        delay: float = 0.002,
    ) -> None:
        def look() -> None:
            still = [(m, held) for m, held in crowded if len(m) * 2 > m.capacity]
            if still and reading.current:
                if time.monotonic() < deadline:
                    self._wait_for(lane, reading, still, deadline, min(delay * 2, 0.1))
                    return
                for mailbox, held in still:
                    strikes = 1 if len(mailbox) < held else STRIKES
                    self._impatience[mailbox] = self._impatience.get(mailbox, 0) + strikes
            lane.read.append(reading)

        lane.later(delay, look)
