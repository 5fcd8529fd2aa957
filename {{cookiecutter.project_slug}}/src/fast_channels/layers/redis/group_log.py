"""The strategy that follows a log: what one event loop has heard of each, and how it catches up.

Words
- The log of a topic (a group, or the inbox of a process) is a stream; a *notification* brings an entry
  of it to those that listen. ``admit`` is the one way in for both.
- A *position* is where the loop is in one log. It is *behind* from the moment at which the topic is
  about to be subscribed again until the log was read to its end. Of what is notified meanwhile it *holds*
  what came after the log was asked; what came before is in the answer.

Invariants
- What a position is behind by is an object, compared by identity: it changes with each subscription,
  and what was asked before it proves nothing any more. A position has caught up only by an
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
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from ...exceptions import UndecodableMessage
from ...mailbox import Mailbox, Message
from ...tasks import cancel_and_wait
from ..history import History
from ..throttled import ThrottledWarning
from .client.commands import DIRECT, PUBLISH, Command, Script
from .format import FIRST, Messages, decode
from .loop_layer import LoopLayer, Strategy

logger = logging.getLogger(__name__)

# The header of each script documents its keys, its values and what it returns.
LUA = Path(__file__).with_name("lua")
APPEND = Script(LUA / "publish.lua")
MISSED = Script(LUA / "epoch.lua", LUA / "missed.lua")

OVERLAP = 5.0  # seconds
SEEN_SECONDS = 30.0
SEEN_MAX = 50_000  # uids that are remembered if they come within that time; twice as many at most

TAKEN = 250  # topics whose logs are asked at once, by
COMMANDS = 50  # commands at once: in a Cluster each slot takes one
PAGE = 50  # entries of a topic in one answer, roughly; less than a mailbox holds by default
ANSWER_BYTES = 512 * 1024  # of one answer, roughly
HELD = 50  # notifications of a topic that are held until its answer is handed out, and
HELD_BYTES = 64 * 1024
TURN = 0.004  # seconds
CACHED_TOPICS = 4096
SETTLE = 0.002  # seconds between two looks at a subscription that another caller makes
PATIENCE = 0.5  # seconds that a topic waits for its members' mailboxes, and
STRIKES = 4  # how often it waits for one that makes progress, but too little
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds before what failed is tried again

EntryId = int  # milliseconds and the number, 64 bits each, as one
MASK = (1 << 64) - 1
MOST_DIGITS = len(f"{MASK}-{MASK}")
NOWHERE: EntryId = -1  # the position of a topic that is being joined

Entry = tuple[bytes, list[bytes]]  # id, and fields and values in turn
Answer = Any  # see ``lua/missed.lua``


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
    """What positions are behind by; those that were subscribed together share one."""

    since: float  # nothing was missed before, by time.monotonic
    confirmed: bool = False  # subscribed again


@dataclass(eq=False, slots=True)
class Position:
    """Where the loop is in one log."""

    topic: str
    joined: EntryId = NOWHERE
    last: EntryId = field(init=False)
    joined_at: float = field(default_factory=time.monotonic)
    clock: float = 0.0  # the server's clock less time.monotonic(), in milliseconds
    epoch: str = ""  # kept up to date once it was told
    behind: Outage | None = field(init=False)
    # Notifications since the log was asked, or the joining began; None if one was not kept.
    held: list[bytes] | None = field(default_factory=list)
    # Takes an entry's id, and what ``LoopLayer.deliver`` passes on; None while nobody wants positions.
    deliver_event: Callable[[EntryId, str, Message, int], None] | None = None

    def __post_init__(self) -> None:
        self.last = self.joined
        self.behind = Outage(self.joined_at, confirmed=True)

    def believes(self, entry: EntryId) -> bool:
        return entry <= self.last + AHEAD or entry <= id_at(self.server_time()) + AHEAD

    def server_time(self) -> float:
        """In milliseconds."""
        return time.monotonic() * 1000 + self.clock

    def has_not_heard(self, entry: EntryId) -> bool:
        """One from before the joining, whose message a sender may still repeat."""
        youngest = id_at(self.server_time() - SEEN_SECONDS * 1000)
        return youngest < entry <= self.joined

    def restart(self, entry: EntryId) -> None:
        """The log is another one: what comes behind this id is new."""
        self.joined = self.last = entry

    def question(self) -> tuple[str, str]:
        """See ``lua/missed.lua``."""
        if self.last == NOWHERE:
            return "$", ""
        return format_id(self.last), format_id(max(self.last - AHEAD, self.joined + 1))

    def hold(self, data: bytes) -> None:
        if self.held is not None:
            self.held.append(data)
            if len(self.held) > HELD or sum(map(len, self.held)) > HELD_BYTES:
                self.held = None


Behind = tuple[Position, Outage]  # and by what


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


class Lane:
    """What is to be recovered from one server, by one task, which ends with it."""

    def __init__(self) -> None:
        # By outage: objects for 40,000 positions had the garbage collector stop the loop for half a second.
        self.queue: asyncio.Queue[tuple[Sequence[Position], Outage]] = asyncio.Queue()
        self.left = 0  # how many of these are in the queue, or will be
        self.task: asyncio.Task[None] | None = None
        self.pause = FIRST_PAUSE  # after the next failure

    def add(self, positions: Sequence[Position], outage: Outage, after: float = 0.0) -> None:
        """``after`` is in seconds."""
        self.left += 1
        asyncio.get_running_loop().call_later(after, self.queue.put_nowait, (positions, outage))

    async def take(self) -> list[Behind]:
        """Some, as soon as there are any; none of them if none is behind any more."""
        taken: list[Behind] = []
        waiting = await self.queue.get()
        while True:
            self.left -= 1
            positions, outage = waiting
            taken += [(position, outage) for position in positions if position.behind is outage]
            if len(taken) >= TAKEN or self.queue.empty():
                return taken
            waiting = self.queue.get_nowait()


class GroupLog(Strategy):
    """``kept`` says how much of a topic its log keeps at least."""

    keeps = True

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
        return APPEND.command((topic,), uid, *limits, PUBLISH, DIRECT, *messages)

    # Listening

    async def listen(self, topic: str, subscribe: Callable[[], Any]) -> None:
        """``subscribe()`` is awaited, again if its connection is lost. What comes later is ours."""
        position = self._positions.setdefault(topic, Position(topic))
        await subscribe()
        while position.last == NOWHERE and (outage := position.behind) is not None:
            if not outage.confirmed:
                await asyncio.sleep(SETTLE)  # another caller joins the topic at the same time
                await subscribe()
                continue
            (newest,) = await self._ask([(position, outage)])
            if position.last == NOWHERE and position.behind is outage:
                position.joined_at = time.monotonic()
                position.restart(parse_id(newest))
                position.held = None if position.held else []  # the log knows what of it is new
                self._reach_end(position, outage)

    def ignore(self, topic: str) -> None:
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
            position.hold(data)
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
        self._deliver(position, entry, messages)

    def _deliver(self, position: Position, entry: EntryId, messages: Messages) -> None:
        deliver_event = position.deliver_event
        self._owner.deliver(
            position.topic, messages, deliver_event and partial(deliver_event, entry)
        )

    def admit(self, envelope: bytes, index: int = 0) -> Messages:
        """The messages in an envelope that were not handed out before; ``index`` is as in ``decode``."""
        messages = decode(envelope, index)
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
        self._begin_recovery()

    def _begin_recovery(self) -> None:
        """Members are waited for, and told of a gap, as if for the first time."""
        self._impatience.clear()
        self._told.clear()

    def on_subscribed(self, topics: list[str], outage: Outage) -> None:
        outage.confirmed = True
        self._read_on(topics, outage)

    def _read_on(self, topics: list[str], outage: Outage) -> None:
        """Have their logs asked for what follows."""
        by_server: dict[object, list[Position]] = {}
        for topic in topics:
            position = self._positions.get(topic)
            # A caller that joins a topic asks by itself.
            if position is not None and position.behind is outage and position.last != NOWHERE:
                server = self._owner.commands_of(topic).server
                by_server.setdefault(server, []).append(position)
        for server, positions in by_server.items():
            self._lane(server).add(positions, outage)

    def fall_behind(self, position: Position) -> None:
        """A notification seems to be lost: what there is comes from the log."""
        outage = position.behind = Outage(time.monotonic(), confirmed=True)
        self._read_on([position.topic], outage)

    def _reach_end(self, position: Position, outage: Outage) -> None:
        """Of what was in the log when it was asked; what came since is held, or has to be asked for."""
        if (held := position.held) is None:
            self._read_on([position.topic], outage)
            return
        position.behind = position.held = None
        for data in held:
            self._owner.on_message(position.topic.encode(), data)

    # Catching up

    def _lane(self, server: object) -> Lane:
        lane = self._lanes.get(server)
        if lane is None:
            lane = self._lanes[server] = Lane()
            self._seen.keep = True
            lane.task = asyncio.create_task(self._recover(server, lane))
        return lane

    async def _recover(self, server: object, lane: Lane) -> None:
        try:
            while lane.left:
                await self._ask_for(lane, await lane.take())
        finally:
            del self._lanes[server]
            if not self._lanes:
                self._seen.keep = False
                self._begin_recovery()

    async def _breathe(self) -> None:
        """Let the loop go on when this turn has been long enough."""
        if time.monotonic() - self._turn > TURN / len(self._lanes):
            await asyncio.sleep(0)
            self._turn = time.monotonic()

    async def _ask_for(self, lane: Lane, taken: list[Behind]) -> None:
        slots: dict[int, list[Behind]] = {}
        for one in taken:
            slots.setdefault(self._owner.topology.slot_of(one[0].topic), []).append(one)
        asked = list(slots.values())
        for start in range(0, len(asked), COMMANDS):
            some = asked[start : start + COMMANDS]
            replies = await asyncio.gather(*map(self._ask, some), return_exceptions=True)
            self._turn = time.monotonic()
            for part, answers in zip(some, replies, strict=True):
                if isinstance(answers, BaseException):
                    by_outage: dict[Outage, list[Position]] = {}
                    for position, outage in part:
                        by_outage.setdefault(outage, []).append(position)
                    self._failed(lane, by_outage, answers)
                else:
                    await self._take_answers(lane, part, answers)

    async def _ask(self, part: list[Behind]) -> list[Answer]:
        """What one command tells of these topics."""
        topics = tuple(position.topic for position, _ in part)
        with_epoch = any(position.epoch for position, _ in part)
        asked: list[str | int] = [int(with_epoch), PAGE, ANSWER_BYTES]
        for position, _ in part:
            asked += position.question()
            if position.last != NOWHERE:
                position.held = []
        reply: list[Answer] = await MISSED.run(self._owner.commands_of(topics[0]), topics, *asked)
        server_time, epoch, *answers = reply
        clock = server_time - time.monotonic() * 1000
        for position, outage in part:
            if position.behind is outage:
                position.clock, position.epoch = clock, epoch.decode()
        return answers

    async def _take_answers(self, lane: Lane, part: list[Behind], answers: list[Answer]) -> None:
        for (position, outage), answer in zip(part, answers, strict=True):
            await self._breathe()
            if position.behind is outage:
                try:
                    await self._take_answer(lane, position, outage, answer)
                except Exception as error:
                    self._failed(lane, {outage: [position]}, error)

    def _failed(self, lane: Lane, again: dict[Outage, list[Position]], error: object) -> None:
        for outage, positions in again.items():
            self.failures.add(positions[0].topic, error)
            lane.add(positions, outage, after=lane.pause)
        lane.pause = min(lane.pause * 2, LONGEST_PAUSE)

    async def _take_answer(
        self, lane: Lane, position: Position, outage: Outage, answer: Answer
    ) -> None:
        if isinstance(answer, bytes):
            if answer.startswith(b"!"):
                raise RuntimeError(answer[1:].decode(errors="replace"))
            self._reach_end(position, outage)
            return
        newest, length, more, *page = answer
        if not page:
            if not more:
                await self._start_anew(position, outage, parse_id(newest))
            self._read_on([position.topic], outage)
            return
        first = parse_id(page[0][0])
        if first == position.last:
            del page[0]
        elif first > position.last > 0 and (
            length >= self._kept(position.topic).messages or self._is_young(position)
        ):
            await self._tell_gap(position.topic)
        if crowded := await self._hand_out(position, outage, page, at_end=not more):
            lane.left += 1
            go_on = partial(lane.queue.put_nowait, ([position], outage))
            self._let_take(crowded, time.monotonic() + PATIENCE, go_on)
        elif more:
            self._read_on([position.topic], outage)
        elif position.behind is outage:
            self._reach_end(position, outage)

    async def _start_anew(self, position: Position, outage: Outage, newest: EntryId) -> None:
        """The log has nothing so new as what was heard last."""
        if newest or self._is_young(position):
            await self._tell_gap(position.topic)
        if position.behind is outage:
            deaf = time.monotonic() - max(outage.since - OVERLAP, position.joined_at)
            start = id_at(position.server_time() - deaf * 1000)
            position.restart(min(newest, max(start - 1, 0)))

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

    # Handing out

    async def _hand_out(
        self, position: Position, outage: Outage, page: list[Entry], *, at_end: bool
    ) -> dict[Mailbox, int]:
        """Stops before the end at mailboxes that should be waited for; returns them, with what they hold."""
        for number, (entry, fields) in enumerate(page, start=1):
            await self._breathe()
            if position.behind is not outage:
                break
            position.last = parse_id(entry)
            messages = self._open(position, fields)
            if messages and not (at_end and number == len(page)):
                crowded = self._crowded(self._owner.receivers(position.topic, messages))
                if crowded:
                    return crowded
        return {}

    def _open(self, position: Position, fields: list[bytes]) -> Messages:
        """Hand out the messages of the entry that was read last; returns them."""
        if fields[0] == FIRST:
            return []
        try:
            messages = self.admit(fields[1], int(fields[3]) if len(fields) > 2 else 0)
        except ValueError as error:  # somebody else's
            self._owner.undecodable.add(error)
            return []
        self._deliver(position, position.last, messages)
        return messages

    def _crowded(self, mailboxes: Collection[Mailbox]) -> dict[Mailbox, int]:
        return {
            mailbox: len(mailbox)
            for mailbox in mailboxes
            if len(mailbox) * 2 > mailbox.capacity and self._impatience.get(mailbox, 0) < STRIKES
        }

    def _let_take(
        self,
        crowded: dict[Mailbox, int],
        deadline: float,
        go_on: Callable[[], None],
        delay: float = 0.002,
    ) -> None:
        """Go on when they are half empty; the next time not for those that have made no progress."""
        still = [mailbox for mailbox in crowded if len(mailbox) * 2 > mailbox.capacity]
        if still and time.monotonic() < deadline:
            again = partial(self._let_take, crowded, deadline, go_on, min(delay * 2, 0.1))
            asyncio.get_running_loop().call_later(delay, again)
            return
        for mailbox in still:
            strikes = 1 if len(mailbox) < crowded[mailbox] else STRIKES
            self._impatience[mailbox] = self._impatience.get(mailbox, 0) + strikes
        go_on()
