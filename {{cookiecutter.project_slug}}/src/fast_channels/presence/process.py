"""One event loop's part in presence: what it holds, which rosters it mirrors, its lease.

Everything that concerns one group is done by one worker at a time, in small steps, from flags that say
what is to be done: to write, to listen, to check, to compare, to read. A step that fails sets its flag
again, and the group's turn comes later. For what is written, and why that is safe, see ``rosters.py``.

Invariants
- At most one step of a group is under way, and at most ``WORKERS`` groups are worked on: a reconnection
  with thousands of groups writes them one after the other. Those whose last step failed have workers of
  their own, so that one server that cannot be reached does not hold up the others.
- A key is dirty until the roster has confirmed what is held of it now. A group that was left is looked at
  for some leases more: a server that lost the last write is told again.
- What watchers are told are the changes of the mirror, and a watcher's first list is the mirror: so both
  fit together. That list is given when the mirror shows all that this process has written, and so all
  that others wrote before; nothing older is told afterwards. A watcher that has said who it is stands in
  it, also while the server does not say so.
- A roster that may have lost something is read only after the grace, in which those that hold something
  there write it again: so a restart of the server tells of nobody who is still there.
- A process that has held, watched and listed nothing for some leases has no lease, no task and no timer.
"""

import asyncio
import contextlib
import logging
import math
import random
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import get_args

from ..exceptions import ChannelLayerUnavailable, ChannelNotOwned, UndecodableMessage
from ..layers.groups import LocalGroups, copier
from ..layers.throttled import ThrottledWarning
from ..mailbox import Message
from ..tasks import cancel_and_wait
from .holdings import Deadlines, Info
from .lease import ProcessLease
from .mirror import Mirror
from .room import SHORTEST_PAUSE, Lane, Room
from .rosters import (
    DEAD,
    ENDING,
    STALE,
    Change,
    Codec,
    Hold,
    Kind,
    Notice,
    PresenceFull,
    Rosters,
    Seen,
    State,
)

logger = logging.getLogger(__name__)

WORKERS = 32
SLOW_WORKERS = 8
WRITTEN = 100  # keys in one write
PAGE = 500  # keys
LONGEST_PAUSE = 5.0  # seconds before a step is tried again, at most
UNDER_WAY = 0.5  # seconds in which notices come that were published before a state was read
REMEMBERED = 2  # leases for which a group is looked at that was left
LISTED = 4  # leases for which the lease is kept of a process that has only listed members
FAREWELL = 2.0  # seconds for the last writes of a process that ends

TYPES = tuple(f"presence.{kind}" for kind in get_args(Kind))  # of messages to watchers
MORE: dict[Kind, int] = {"joined": 1, "updated": 0, "left": -1}  # members by a change


@dataclass(frozen=True)
class Settings:
    """All times in seconds."""

    grace: float
    lease: float
    max_members: int
    timeout: float

    @property
    def patience(self) -> float:
        """In which each process that lives has renewed its lease, once the registry can be reached."""
        return max(self.lease, 2 * self.timeout)


class Process:
    """``name`` is unique among all processes; ``local`` are its channels."""

    def __init__(
        self, name: str, rosters: Rosters, local: LocalGroups, codec: Codec, settings: Settings
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._rosters = rosters
        self._local = local
        self._codec = codec
        self._settings = settings
        self._closed = False
        self.rooms: dict[str, Room] = {}
        self._groups_of: dict[str, set[str]] = {}  # of a channel that is somebody, or watches
        self._deadlines = Deadlines()
        self._timer: asyncio.TimerHandle | None = None
        self._number = 0
        self._lease = ProcessLease(
            name,
            rosters,
            settings.lease,
            settings.patience,
            on_new_id=self._write_all,
            on_gone=self._check_all,
        )
        self._keeper: asyncio.Task[None] | None = None
        self._listed_at = -math.inf
        self._lane = Lane(WORKERS)
        self._slow_lane = Lane(SLOW_WORKERS)  # for those whose last step has failed
        self._failures = ThrottledWarning(logger, "%d step(s) failed, the last for group %s: %s")
        self._undecodable = ThrottledWarning(logger, "%d info(s) skipped, the last: %s")
        self._refusals = ThrottledWarning(
            logger, "%d member(s) refused that had been there, the last: %r in group %s"
        )
        self._end_doubts = rosters.when_doubtful(self.doubt)

    @property
    def id(self) -> str:
        return self._lease.id

    # Who is here

    async def present(self, group: str, key: str, info: Message, channel: str) -> None:
        """Returns when the roster has it; at the latest after ``timeout``, and then it will have it."""
        self._own(channel, group)
        room = self._room(group)
        sealed = self._codec.seal(group, key, info)
        if room.holdings.key_of.get(channel, key) != key:
            self._leave(room, channel)
        room.holdings.enter(channel, key, Info(info, sealed))
        self._enqueue(room)
        await self._settled(room, key)

    async def leave(self, group: str, channel: str) -> None:
        """As ``present``; the key, if that was its last connection, has its grace."""
        room = self.rooms.get(group)
        if room is not None and (key := self._leave(room, channel)) is not None:
            self._let_go(room, channel)
            await self._settled(room, key)

    def _leave(self, room: Room, channel: str) -> str | None:
        grace = self._settings.grace
        until = self._loop.time() + grace if grace else None
        key = room.holdings.leave(channel, until)
        if key is not None:
            if until is not None:
                self._deadlines.add(until, room.group, key)
                self._set_timer()
            self._enqueue(room)
        return key

    async def _settled(self, room: Room, key: str) -> None:
        """Until the roster has what is held of a key, or ``timeout`` is over."""
        settled: asyncio.Future[None] = self._loop.create_future()
        waiting = room.settled.setdefault(key, [])
        waiting[:] = [one for one in waiting if not one.done()]  # those that have given up
        waiting.append(settled)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.timeout):
                await settled

    def _set_timer(self) -> None:
        at = self._deadlines.next
        if at is not None and self._timer is None and not self._closed:
            self._timer = self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time()
        for group, key in self._deadlines.due(now):
            if (room := self.rooms.get(group)) is not None:
                room.holdings.expire(key, now)
                self._enqueue(room)
        self._set_timer()

    # Channels

    def _own(self, channel: str, group: str) -> None:
        """``ChannelNotOwned`` unless it is an open channel of this loop."""
        if channel not in self._local.mailboxes or self._closed:
            raise ChannelNotOwned(channel)
        if channel not in self._groups_of:
            self._groups_of[channel] = set()
            self._local.when_closed(channel, partial(self._on_closed, channel))
        self._groups_of[channel].add(group)

    def _on_closed(self, channel: str) -> None:
        for group in self._groups_of.pop(channel, ()):
            if (room := self.rooms.get(group)) is not None:
                self._leave(room, channel)
                room.watchers.pop(channel, None)
                self._forget_mirror(room)

    def _let_go(self, room: Room, channel: str) -> None:
        if channel not in room.watchers and channel not in room.holdings.key_of:
            self._groups_of.get(channel, set()).discard(room.group)

    # Watching

    async def watch(self, group: str, channel: str) -> list[Seen]:
        """The members, of whom the channel is told each change from now on."""
        self._own(channel, group)
        room = self._room(group)
        room.interest += 1
        try:
            if (mirror := room.mirror) is None:
                mirror = room.mirror = Mirror(partial(self._same_info, group))
                room.mirrored.clear()
                self._enqueue(room)
            elif not room.mirrored.is_set():
                self._loop.call_later(UNDER_WAY, self._look_again, room, mirror, room.wrote[1])
            async with asyncio.timeout(self._settings.timeout):
                await room.mirrored.wait()
            if channel not in self._local.mailboxes:
                raise ChannelNotOwned(channel)
            self._show_itself(room, mirror, channel)
            self._end_telling(room, channel)
            room.watchers[channel] = None
            return list(mirror.members.values())
        except TimeoutError:
            raise ChannelLayerUnavailable(
                f"The members of group {group} could not be read within {self._settings.timeout} s"
            ) from None
        finally:
            room.interest -= 1
            self._forget_mirror(room)

    def _show_itself(self, room: Room, mirror: Mirror, channel: str) -> None:
        """The server may not know it yet, or may have lost it, which is looked at."""
        key = room.holdings.key_of.get(channel)
        if key is not None and key not in mirror.members:
            hold = room.holdings.hold(key)
            self._tell(room, mirror.show(Seen(key, hold.live, hold.info)))
            room.check = True
            self._enqueue(room)
            self._read_later(room)

    def unwatch(self, group: str, channel: str) -> None:
        if (room := self.rooms.get(group)) is not None:
            self._end_telling(room, channel)
            self._let_go(room, channel)
            self._forget_mirror(room)

    def _end_telling(self, room: Room, channel: str) -> None:
        """Neither what comes, nor what was told and waits to be read."""
        room.watchers.pop(channel, None)
        if (mailbox := self._local.mailboxes.get(channel)) is not None:
            mailbox.withdraw(lambda m: m.get("group") == room.group and m.get("type") in TYPES)

    def _forget_mirror(self, room: Room) -> None:
        if not room.watchers and not room.interest and room.mirror is not None:
            room.mirror = None
            room.read = False
            if room.listener is not None:
                self._rosters.ignore(room.group, room.listener)
                room.listener = None
            room.listening = False

    def _hear(self, room: Room, mirror: Mirror, notice: Notice) -> None:
        if room.mirror is not mirror:
            return
        changes = mirror.hear(notice)
        if changes is not None:
            self._tell(room, changes)
            room.look_at_mirror()
        elif notice.epoch == mirror.epoch:
            room.read = True
            self._enqueue(room)
        else:
            self._read_later(room)

    def _tell(self, room: Room, changes: list[Change]) -> None:
        if not room.watchers or room.mirror is None:
            return
        members = len(room.mirror.members) - sum(MORE[change.kind] for change in changes)
        for change in changes:
            members += MORE[change.kind]
            with contextlib.suppress(UndecodableMessage):
                copy = copier(self._message(room.group, change, members))
                for channel in list(room.watchers):
                    self._local.deliver(channel, copy())

    def _message(self, group: str, change: Change, members: int) -> Message:
        return {
            "type": f"presence.{change.kind}",
            "group": group,
            "key": change.key,
            "info": self.unseal(group, Seen(*change[1:])),
            "connections": 0 if change.kind == "left" else change.connections,
            "members": members,
        }

    def _same_info(self, group: str, one: Seen, other: Seen) -> bool:
        """Encrypted, they differ each time."""
        try:
            return self.unseal(group, one) == self.unseal(group, other)
        except UndecodableMessage:
            return False

    def unseal(self, group: str, seen: Seen) -> Message:
        """Its info; ``UndecodableMessage``, and counted, for what somebody else wrote."""
        try:
            return self._codec.unseal(group, seen.key, seen.info)
        except UndecodableMessage as error:
            self._undecodable.add(error)
            raise

    # Reading without watching

    async def members(self, group: str, after: str, count: int) -> list[Seen]:
        """A part of the roster, from which those that are dead have been taken out."""
        deadline = self._loop.time() + self._settings.timeout
        while True:
            try:
                return await self._list(group, after, count)
            except ChannelLayerUnavailable:
                if self._loop.time() > deadline or self._closed:
                    raise
            await asyncio.sleep(SHORTEST_PAUSE)

    async def _list(self, group: str, after: str, count: int) -> list[Seen]:
        state = await self._rosters.state(group, self.id, watch=False)
        if state.numbers.keys() - {self.id}:
            self._listed_at = self._loop.time()  # a lease that is kept can find out who is dead
            self._start_keeper()
        room = self.rooms.get(group)
        if room is None and 0 < state.numbers.get(self.id, 0) < ENDING:
            room = self._room(group)  # an older state may say of us what is no more
            room.check = True
            self._enqueue(room)
        # What an id before this one has left is not dead while it is being written again.
        if room is None or not room.holdings.dirty:
            await self._bury(group, state)
        found: list[Seen] = []
        while len(found) < count:
            page = await self._rosters.page(group, after, min(PAGE, count - len(found)))
            found += page.members
            if page.end is None:
                break
            after = page.end
        return found

    # What is to be done

    def _room(self, group: str) -> Room:
        room = self.rooms.get(group)
        if room is None:
            room = self.rooms[group] = Room(group)
            room.check_at = self._loop.time() + self._next_check()
        return room

    def _next_check(self) -> float:
        return self._settings.lease * random.uniform(0.8, 1.2)

    def doubt(self) -> None:
        """Notices may be missing, and what was written may be lost."""
        self._check_all()
        for room in self.rooms.values():
            self._read_later(room)

    def _check_all(self) -> None:
        for room in self.rooms.values():
            room.check = True
            self._enqueue(room)

    def _write_all(self) -> None:
        """Under a new id; and what an earlier one has left is taken out."""
        for room in self.rooms.values():
            room.number = 0
            room.holdings.dirty.update(dict.fromkeys(room.holdings.keys))
        self._check_all()

    def _read_later(self, room: Room) -> None:
        """What was there may be lost: those that held it have their grace to write it again."""
        if room.mirror is not None and room.rereading is None and not self._closed:
            room.rereading = self._loop.call_later(self._settings.grace, self._reread, room)

    def _reread(self, room: Room) -> None:
        room.rereading = None
        room.read = room.mirror is not None
        self._enqueue(room)

    def _enqueue(self, room: Room) -> None:
        room.used_at = self._loop.time()
        self._enqueue_quietly(room)

    def _enqueue_quietly(self, room: Room) -> None:
        if room.busy or self._closed or not room.work:
            return
        self._start_keeper()
        room.busy = True
        lane = self._lane if room.pause == SHORTEST_PAUSE else self._slow_lane
        lane.waiting.append(room)
        if len(lane.workers) < lane.most:
            worker = self._loop.create_task(self._work(lane.waiting), name="presence")
            lane.workers.add(worker)
            worker.add_done_callback(lane.workers.discard)

    async def _work(self, waiting: deque[Room]) -> None:
        while waiting:
            room = waiting.popleft()
            try:
                while room.work:
                    await self._step(room)
            except Exception as error:
                if not isinstance(error, ChannelLayerUnavailable):
                    logger.exception("A step of presence failed for group %s", room.group)
                self._failures.add(room.group, error)
                self._loop.call_later(room.pause, self._again, room)
                room.pause = min(room.pause * 2, LONGEST_PAUSE)
            else:
                room.busy = False
                room.pause = SHORTEST_PAUSE

    def _again(self, room: Room) -> None:
        room.busy = False
        self._enqueue(room)

    async def _step(self, room: Room) -> None:
        if room.compare:
            await self._compare(room)
        elif room.holdings.dirty:
            await self._write(room)
        elif room.mirror is not None and not room.listening:
            await self._listen(room, room.mirror)
        elif room.check:
            room.check = False
            try:
                await self._check(room)
            except BaseException:
                room.check = True
                raise
        elif room.read:
            await self._read(room)

    async def _write(self, room: Room) -> None:
        await self._lease.register()
        process, holdings = self.id, room.holdings
        keys = list(islice(holdings.dirty, WRITTEN))
        holds = {key: holdings.hold(key) for key in keys}
        settled = {key: room.settled.pop(key, []) for key in keys}
        for key in keys:
            holdings.written(key)
        self._number = number = self._number + 1
        outcome: str = "unknown"
        no_room: list[str] = []
        try:
            outcome, no_room, epoch, version = await self._rosters.write(
                room.group,
                process,
                number,
                holds,
                limit=self._settings.max_members,
                after=room.number,
            )
        finally:
            if outcome != "done":
                for key, hold in holds.items():
                    holdings.unwritten(key, hold.fresh)
                    if settled[key]:
                        room.settled.setdefault(key, []).extend(settled[key])
        if outcome == "refused":
            self._lease.end(process)
        elif outcome == "lost":
            self._write_again(room)
        elif process == self.id:
            room.number = number
        if outcome == "done":
            room.wrote = (epoch, version)
            room.look_at_mirror()
        for key in keys if outcome == "done" else ():
            self._settle(room, key, settled[key], refused=key in no_room)

    def _write_again(self, room: Room) -> None:
        """The roster has lost what we wrote, and may say of us what we did not hold any more."""
        room.number = 0
        room.compare = True

    def _settle(
        self, room: Room, key: str, settled: "list[asyncio.Future[None]]", *, refused: bool
    ) -> None:
        if refused:
            room.holdings.drop(key)
            if not settled:
                self._refusals.add(key, room.group)
        for one in settled:
            if one.done():
                continue
            if refused:
                limit = self._settings.max_members
                one.set_exception(
                    PresenceFull(
                        f"Group {room.group} has {limit} members; max_members allows no more"
                    )
                )
            else:
                one.set_result(None)

    async def _listen(self, room: Room, mirror: Mirror) -> None:
        listener = partial(self._hear, room, mirror)
        await self._rosters.listen(room.group, listener)
        if room.mirror is mirror:
            room.listener, room.listening = listener, True
            room.check = room.read = True
        else:
            self._rosters.ignore(room.group, listener)

    async def _read(self, room: Room) -> None:
        room.read = False
        if (mirror := room.mirror) is None:
            return
        mirror.begin()
        after: str | None = ""
        try:
            while after is not None:
                page = await self._rosters.page(room.group, after, PAGE)
                if not mirror.add(page):
                    raise ChannelLayerUnavailable(
                        f"Group {room.group} was emptied while it was read"
                    )
                after = page.end
        except BaseException:
            mirror.abandon()
            room.read = room.mirror is not None
            raise
        changes, complete = mirror.finish()
        if room.mirror is mirror:
            room.read_at = self._loop.time()
            room.wrote = (b"", 0)  # all that was confirmed before this reading is in it
            room.look_at_mirror()
            self._tell(room, changes)
            if not complete:
                room.read = True
                await asyncio.sleep(SHORTEST_PAUSE)

    # What may have been lost

    async def _check(self, room: Room) -> None:
        await self._lease.register()
        process, number, mirror = self.id, room.number, room.mirror
        known = mirror.version if mirror is not None else 0
        state = await self._rosters.state(room.group, process, watch=mirror is not None)
        room.check_at = self._loop.time() + self._next_check()
        written = state.numbers.get(process, 0)
        if written >= ENDING:
            self._lease.end(process)
        elif process == self.id and written < number:
            self._write_again(room)
        elif process == self.id and written > number:  # of a time that is forgotten here
            room.number, room.compare = written, True
        await self._bury(room.group, state)
        if mirror is not None and mirror.ready and mirror is room.mirror:
            old = self._loop.time() - room.read_at > STALE * self._settings.lease
            if old or state.epoch != mirror.epoch or state.version < known:
                self._read_later(room)
            elif state.version > mirror.version:
                self._loop.call_later(UNDER_WAY, self._look_again, room, mirror, state.version)

    def _look_again(self, room: Room, mirror: Mirror, version: int) -> None:
        """The notices up to that version must have come."""
        if mirror is room.mirror and mirror.version < version:
            room.read = True
            self._enqueue(room)

    async def _compare(self, room: Room) -> None:
        """Find what the roster says of us, and write all again that we hold."""
        process, holdings = self.id, room.holdings
        room.compare = False
        after: str | None = ""
        try:
            while after is not None:
                page = await self._rosters.page(room.group, after, PAGE, of=process)
                for member in page.members:
                    holdings.dirty[member.key] = None
                after = page.end
        except BaseException:
            room.compare = True
            raise
        holdings.dirty.update(dict.fromkeys(holdings.keys))

    async def _bury(self, group: str, state: State) -> None:
        """Take out of a roster what those have left in it that are dead."""
        unburied = {process for process, number in state.numbers.items() if number < DEAD}
        ending = {process for process in unburied if state.numbers[process] >= ENDING}
        dead = await self._lease.dead_among(unburied)
        for process in (dead | ending | state.stale) & unburied - {self.id}:
            await self._sweep(group, process)

    async def _sweep(self, group: str, process: str) -> None:
        limit = self._settings.max_members
        await self._rosters.write(group, process, ENDING, {}, limit=limit)
        after: str | None = ""
        while after is not None:
            page = await self._rosters.page(group, after, PAGE, of=process)
            nothing = {member.key: Hold(0, 0, b"") for member in page.members}
            if nothing:
                await self._rosters.write(group, process, ENDING, nothing, limit=limit)
            after = page.end
        await self._rosters.write(group, process, DEAD, {}, limit=limit)

    # The lease

    def _start_keeper(self) -> None:
        if self._keeper is None and not self._closed:
            self._keeper = self._loop.create_task(self._keep(), name="presence lease")

    async def _keep(self) -> None:
        """Renew the lease and look at groups, until nothing has been asked for a while."""
        length = self._settings.lease
        pause = length / 3
        while self._in_use:
            await asyncio.sleep(pause * random.uniform(0.8, 1.0))
            self._look_at_rooms()
            if self._in_use:
                pause = length / 3 if await self._try(self._lease.renew()) else length / 20
            elif self._lease.held:
                process = self.id
                self._lease.end(process)
                await self._try(self._lease.resign(process, within=0))
        self._keeper = None

    @property
    def _in_use(self) -> bool:
        listed = self._loop.time() - self._listed_at < LISTED * self._settings.lease
        return bool(self.rooms) or listed

    def _look_at_rooms(self) -> None:
        now = self._loop.time()
        for group, room in list(self.rooms.items()):
            if room.in_use or now - room.used_at < REMEMBERED * self._settings.lease:
                room.check = room.check or now >= room.check_at
                self._enqueue_quietly(room)
            else:
                del self.rooms[group]

    async def _try(self, work: Awaitable[object]) -> bool:
        try:
            await work
        except Exception as error:
            if not isinstance(error, ChannelLayerUnavailable):
                logger.exception("A step of presence failed")
            self._failures.add("any", error)
            return False
        return True

    # The end

    async def aclose(self) -> None:
        """Nobody is here any more, and what was here has its grace without us."""
        for channel in list(self._groups_of):
            self._on_closed(channel)
        self._closed = True
        self._end_doubts()
        if self._timer is not None:
            self._timer.cancel()
        keeper = [] if self._keeper is None else [self._keeper]
        await cancel_and_wait([*self._lane.workers, *self._slow_lane.workers, *keeper])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(FAREWELL, self._settings.timeout)):
                await self._say_farewell()
        for room in self.rooms.values():
            if room.listener is not None:
                self._rosters.ignore(room.group, room.listener)
            if room.rereading is not None:
                room.rereading.cancel()
        self.rooms.clear()

    async def _say_farewell(self) -> None:
        """First what matters most: that we are dead in a while, whatever else is said until then."""
        if not self._lease.held:
            return
        process = self.id
        await self._try(self._lease.resign(process, within=max(self._settings.grace, FAREWELL)))
        unsaid = iter([room for room in self.rooms.values() if room.holdings.dirty])

        async def say() -> None:
            for room in unsaid:
                while room.holdings.dirty and self.id == process:
                    await self._write(room)

        await asyncio.gather(*(self._try(say()) for _ in range(WORKERS)))
        if not any(room.holdings.keys or room.holdings.dirty for room in self.rooms.values()):
            await self._try(self._lease.resign(process, within=0))
