"""One group as one process has part in it: which of its connections are which key there, and who watches.

It does its work in *steps*, when ``process`` gives it a turn. For what is written, and why that is safe, see
``rosters``.

Invariants
- A connection is at most one key; a key is held while it has a connection, or one that left less than
  ``grace`` seconds ago. A connection that comes takes the place of one that left.
- A key is dirty until the roster has confirmed what is held of it now.
- What watchers are told are the changes of the mirror, and a watcher's first list is the mirror: so both
  fit together. That list is given when the mirror shows all that this process has written, and so all
  that others wrote before; nothing older is told afterwards. A watcher that has said who it is stands in
  it, also while the server does not say so.
- A roster that may have lost something is read only after the grace, in which those that hold something
  there write it again: so a restart of the server tells of nobody who is still there.
"""

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice

from ..exceptions import ChannelLayerUnavailable, ChannelNotOwned
from ..layers.groups import LocalGroups, copier
from ..layers.throttled import ThrottledWarning
from ..mailbox import Message
from .lease import ProcessLease
from .mirror import Change, Mirror
from .rosters import (
    ENDING,
    STALE,
    Hold,
    Member,
    Notice,
    PresenceFull,
    Seen,
    members_of,
    pages_of,
)

logger = logging.getLogger(__name__)

SHORTEST_PAUSE = 0.1  # seconds before something is tried again
WRITTEN = 100  # keys in one write
UNDER_WAY = 0.5  # seconds in which notices come that were published before a state was read

MORE = {"joined": 1, "updated": 0, "left": -1}  # members by a change
TYPES = tuple(f"presence.{kind}" for kind in MORE)  # of messages to watchers

refusals = ThrottledWarning(
    logger, "%d member(s) refused that had been there, the last: %r in group %s"
)

Step = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Holding:
    """One key. Its info is that of the connection that said it last."""

    connections: dict[str, bytes] = field(default_factory=dict)  # their infos, by channel
    lingering: list[float] = field(default_factory=list)  # until when, the first one first
    info: bytes = b""

    def enter(self, channel: str, info: bytes) -> None:
        if self.connections.pop(channel, None) is None and self.lingering:
            self.lingering.pop(0)
        self.connections[channel] = self.info = info

    def leave(self, channel: str) -> None:
        del self.connections[channel]
        if self.connections:
            self.info = next(reversed(self.connections.values()))


@dataclass(slots=True)
class Unconfirmed:
    """What the roster has not confirmed of a key: whether its info is news, and who waits for it."""

    news: bool = False
    waiting: list[asyncio.Future[bool]] = field(default_factory=list)


class Room:
    """``take_turn(room)`` is called when a step is due."""

    def __init__(
        self,
        group: str,
        lease: ProcessLease,
        local: LocalGroups,
        take_turn: "Callable[[Room], None]",
    ) -> None:
        self.group = group
        self._lease = lease
        self._rosters = lease.rosters
        self._settings = lease.settings
        self._local = local
        self._take_turn = take_turn
        self._loop = asyncio.get_running_loop()
        self.keys: dict[str, Holding] = {}
        self._key_of: dict[str, str] = {}  # of a channel
        self.dirty: dict[str, Unconfirmed] = {}  # in order
        self._number = 0  # of the last write under the present id that was confirmed
        self._watchers: dict[str, None] = {}  # channels, in order
        self._interest = 0  # callers that wait for the mirror
        self._mirror: Mirror | None = None
        self._listening = False
        self.due: set[Step] = set()
        self._read_at = 0.0
        self._reread_at = 0.0
        self._check_at = self._next_check()
        self.used_at = 0.0

    @property
    def in_use(self) -> bool:
        return bool(self.keys or self._watchers or self._interest or self.due)

    # Who is here. For arguments and errors see ``service``.

    async def present(self, key: str, info: Message, channel: str) -> None:
        """Returns when the roster has it; at the latest after ``timeout``, and then it will have it."""
        sealed = self._rosters.seal(self.group, key, info, self._settings.max_info)
        self._require_open(channel)
        if self._key_of.get(channel, key) != key:
            self._leave(channel)
        self.keys.setdefault(key, Holding()).enter(channel, sealed)
        self._key_of[channel] = key
        if not await self._write_soon(key, news=True):
            most = self._settings.max_members
            raise PresenceFull(f"Group {self.group} has {most} members; max_members allows no more")

    async def leave(self, channel: str) -> None:
        if (key := self._leave(channel)) is not None:
            self._let_go(channel)
            await self._write_soon(key)

    def release(self, channel: str) -> None:
        """It was closed."""
        self._leave(channel)
        self._watchers.pop(channel, None)
        self._forget_mirror()

    def release_all(self) -> None:
        for channel in (*self._key_of, *self._watchers):
            self.release(channel)

    def _require_open(self, channel: str) -> None:
        """``ChannelNotOwned`` unless it is an open channel of this loop; its end is told from now on."""
        if channel not in self._local.mailboxes:
            raise ChannelNotOwned(channel)
        self._local.when_closed(channel, self.release)

    def _let_go(self, channel: str) -> None:
        if channel not in self._watchers and channel not in self._key_of:
            self._local.ignore_close(channel, self.release)

    def _leave(self, channel: str) -> str | None:
        """Returns the key that the channel was; if that was its last connection, it has its grace."""
        if (key := self._key_of.pop(channel, None)) is None:
            return None
        self.keys[key].leave(channel)
        if self._settings.grace:
            until = self._loop.time() + self._settings.grace
            self.keys[key].lingering.append(until)
            self._loop.call_at(until, self._expire, key, until)
        self._mark(key)
        return key

    def _expire(self, key: str, until: float) -> None:
        """Those that left before have had their grace."""
        if (holding := self.keys.get(key)) is not None:
            remaining = [one for one in holding.lingering if one > until]
            if len(remaining) < len(holding.lingering):
                holding.lingering = remaining
                self._mark(key)

    def _mark(
        self, key: str, *, news: bool = False, waiting: Iterable[asyncio.Future[bool]] = ()
    ) -> None:
        """The roster may have been told something else of the key."""
        holding = self.keys.get(key)
        if holding is not None and not holding.connections and not holding.lingering:
            del self.keys[key]
        dirty = self.dirty.setdefault(key, Unconfirmed())
        dirty.news |= news
        dirty.waiting = [one for one in (*dirty.waiting, *waiting) if not one.done()]
        self._soon(self.write)

    def _hold(self, key: str, news: bool = False) -> Hold:
        holding = self.keys.get(key, Holding())
        return Hold(len(holding.connections), len(holding.lingering), holding.info, news)

    async def _write_soon(self, key: str, *, news: bool = False) -> bool:
        """Wait until the roster has what is held of a key, or ``timeout`` is over; False if it is full."""
        written: asyncio.Future[bool] = self._loop.create_future()
        self._mark(key, news=news, waiting=[written])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.timeout):
                return await written
        return True

    # Watching

    async def watch(self, channel: str) -> list[Member]:
        """The members, of whom the channel is told each change from now on."""
        self._require_open(channel)
        self._interest += 1
        try:
            if (mirror := self._mirror) is None:
                mirror = self._mirror = Mirror(self._is_same_info)
                self._soon(self._listen)
            elif not mirror.shows_written.is_set():
                self._loop.call_later(UNDER_WAY, self._read_before, mirror.written[1])
            async with asyncio.timeout(self._settings.timeout):
                await mirror.shows_written.wait()
            self._require_open(channel)
            self._show_itself(mirror, channel)
            self._end_telling(channel)
            self._watchers[channel] = None
            return members_of(self._rosters, self.group, mirror.members.values())
        except TimeoutError:
            raise ChannelLayerUnavailable(
                f"The members of group {self.group} could not be read within "
                f"{self._settings.timeout} s"
            ) from None
        finally:
            self._interest -= 1
            self._forget_mirror()

    def _show_itself(self, mirror: Mirror, channel: str) -> None:
        """The server may not know it yet, or may have lost it, which is looked at."""
        key = self._key_of.get(channel)
        if key is not None and key not in mirror.members:
            hold = self._hold(key)
            self._tell(mirror.show(Seen(key, hold.live, hold.info)))
            self.doubt()

    def unwatch(self, channel: str) -> None:
        self._end_telling(channel)
        self._let_go(channel)
        self._forget_mirror()

    def _end_telling(self, channel: str) -> None:
        """Neither what comes, nor what was told and waits to be read."""
        self._watchers.pop(channel, None)
        if (mailbox := self._local.mailboxes.get(channel)) is not None:
            mailbox.withdraw(lambda m: m.get("group") == self.group and m.get("type") in TYPES)

    def _forget_mirror(self) -> None:
        """If nobody watches."""
        if not self._watchers and not self._interest:
            self._mirror = None
            if self._listening:
                self._rosters.ignore(self.group, self._hear)
                self._listening = False

    def _hear(self, notice: Notice) -> None:
        if (mirror := self._mirror) is None:
            return
        if (changes := mirror.hear(notice)) is not None:
            self._tell(changes)
        elif notice.epoch == mirror.epoch:
            self._soon(self._read)
        else:
            self._read_later()

    def _tell(self, changes: list[Change]) -> None:
        if not self._watchers or self._mirror is None:
            return
        count = len(self._mirror.members) - sum(MORE[kind] for kind, _ in changes)
        for kind, seen in changes:
            count += MORE[kind]
            for member in members_of(self._rosters, self.group, [seen]):
                message: Message = {
                    "type": f"presence.{kind}",
                    "group": self.group,
                    "key": member.key,
                    "info": member.info,
                    "connections": 0 if kind == "left" else member.connections,
                    "members": count,
                }
                copy = copier(message)
                for channel in list(self._watchers):
                    self._local.deliver(channel, copy())

    def _is_same_info(self, *both: Seen) -> bool:
        """Encrypted, they differ each time."""
        infos = [member.info for member in members_of(self._rosters, self.group, both)]
        return len(infos) == 2 and infos[0] == infos[1]

    # Steps

    def _soon(self, step: Step) -> None:
        self.due.add(step)
        self.used_at = self._loop.time()
        self._take_turn(self)

    async def work(self) -> None:
        """Do what is due, one step at a time and in this order; what fails is due again."""
        order = (self._compare, self.write, self._listen, self._check, self._read)
        while self.due:
            step = next(one for one in order if one in self.due)
            self.due.remove(step)
            try:
                await step()
            except BaseException:
                self.due.add(step)
                raise

    def look(self, *, early: bool = False) -> None:
        """Have the roster checked, if it is time for that."""
        if early or self._loop.time() >= self._check_at:
            self.due.add(self._check)
            self._take_turn(self)

    def doubt(self) -> None:
        """Notices may be missing, and what was written may be lost."""
        self._soon(self._check)
        self._read_later()

    def write_again(self) -> None:
        """All that is held, under a new id; and what an earlier one has left is taken out."""
        self._number = 0
        for key in list(self.keys):
            self._mark(key)
        self._soon(self._check)

    def _read_later(self) -> None:
        """What was there may be lost: those that held it have their grace to write it again."""
        if (now := self._loop.time()) >= self._reread_at:
            self._reread_at = now + self._settings.grace
            self._loop.call_at(self._reread_at, self._read_before, math.inf)

    def _read_before(self, version: float) -> None:
        """The notices up to that version must have come."""
        if self._mirror is not None and self._mirror.version < version:
            self._soon(self._read)

    def _next_check(self) -> float:
        return self._loop.time() + self._settings.lease * random.uniform(0.8, 1.2)

    async def write(self) -> None:
        process, number = await self._lease.register(), next(self._lease.numbers)
        news = {key: self.dirty.pop(key) for key in list(islice(self.dirty, WRITTEN))}
        holds = {key: self._hold(key, dirty.news) for key, dirty in news.items()}
        done = False
        try:
            written = await self._rosters.write(
                self.group,
                process,
                number,
                holds,
                limit=self._settings.max_members,
                after=self._number,
            )
            done = written.outcome == "done"
        finally:
            if not done:  # as far as we know
                for key, dirty in news.items():
                    self._mark(key, news=dirty.news, waiting=dirty.waiting)
        if written.outcome == "refused":
            self._lease.end(process)
        elif written.outcome == "lost":
            self._number = 0
            self._soon(self._compare)
        else:
            if process == self._lease.id:
                self._number = number
            if self._mirror is not None:
                self._mirror.expect(written.epoch, written.version)
            for key, dirty in news.items():
                self._settle(key, dirty.waiting, refused=key in written.no_room)
            if self.dirty:
                self._soon(self.write)

    def _settle(self, key: str, waiting: list[asyncio.Future[bool]], *, refused: bool) -> None:
        if refused:  # nobody here is the key any more
            for channel in self.keys.pop(key, Holding()).connections:
                del self._key_of[channel]
            if not waiting:
                refusals.add(key, self.group)
        for one in waiting:
            if not one.done():
                one.set_result(not refused)

    async def _compare(self) -> None:
        """The roster may say of us what we do not hold any more: find that, and write all again."""
        for page in await pages_of(self._rosters, self.group, of=self._lease.id):
            for member in page.members:
                self._mark(member.key)
        for key in list(self.keys):
            self._mark(key)

    async def _listen(self) -> None:
        if self._mirror is None:
            return
        await self._rosters.listen(self.group, self._hear)
        self._listening = True
        self._forget_mirror()
        self._soon(self._check)
        self._soon(self._read)

    async def _check(self) -> None:
        """Find out what may have been lost, and who has died."""
        process, number, mirror = await self._lease.register(), self._number, self._mirror
        known = mirror.version if mirror is not None else 0
        state = await self._rosters.state(self.group, process, watch=mirror is not None)
        self._check_at = self._next_check()
        written = state.numbers.get(process, 0)
        if written >= ENDING:
            self._lease.end(process)
        elif process == self._lease.id and written != number:  # older, or of a time forgotten here
            self._number = written
            self._soon(self._compare)
        await self._lease.bury(self.group, state)
        if mirror is not None and mirror.ready and mirror is self._mirror:
            old = self._loop.time() - self._read_at > STALE * self._settings.lease
            if old or state.epoch != mirror.epoch or state.version < known:
                self._read_later()
            elif state.version > mirror.version:
                self._loop.call_later(UNDER_WAY, self._read_before, state.version)

    async def _read(self) -> None:
        if (mirror := self._mirror) is None:
            return
        mirror.begin()
        try:
            pages = await pages_of(self._rosters, self.group)
        except BaseException:
            mirror.abandon()
            raise
        changes, complete = mirror.finish(pages)
        if self._mirror is mirror:
            self._read_at = self._loop.time()
            self._tell(changes)
            if not complete:
                self._soon(self._read)
                await asyncio.sleep(SHORTEST_PAUSE)
