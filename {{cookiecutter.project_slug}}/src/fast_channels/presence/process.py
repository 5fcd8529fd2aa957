"""One event loop's part in presence: its rooms and their turns, and its lease.

Invariants
- At most one step of a room is under way, and at most ``TURNS`` rooms have a turn: a reconnection with
  thousands of groups writes them one after the other. Those whose last step has failed have turns of
  their own, so that one server that cannot be reached does not hold up the others.
- A group that was left is looked at for some leases more: a server that lost the last write is told again.
- A process that has held, watched and listed nothing for some leases has no lease, no task and no timer.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial

from ..exceptions import ChannelLayerUnavailable
from ..layers.groups import LocalGroups
from ..layers.throttled import ThrottledWarning
from ..tasks import cancel_and_wait
from .lease import ProcessLease, Settings
from .room import SHORTEST_PAUSE, Room
from .rosters import ENDING, Member, Rosters, Seen, members_of, pages_of

logger = logging.getLogger(__name__)

TURNS = 32
SLOW_TURNS = 8
LONGEST_PAUSE = 5.0  # seconds before a step is tried again, at most
REMEMBERED = 2  # leases for which a group is looked at that was left
LISTED = 4  # leases for which the lease is kept of a process that has only listed members
FAREWELL = 2.0  # seconds for the last writes of a process that ends


class Process:
    """``name`` is unique among all processes; ``local`` are its channels."""

    def __init__(self, name: str, rosters: Rosters, local: LocalGroups, settings: Settings) -> None:
        self._loop = asyncio.get_running_loop()
        self._rosters = rosters
        self._local = local
        self._settings = settings
        self._closed = False
        self.rooms: dict[str, Room] = {}
        write_again = partial(self._each_room, Room.write_again)
        look = partial(self._each_room, partial(Room.look, early=True))
        self._lease = ProcessLease(name, rosters, settings, on_new_id=write_again, on_gone=look)
        self._keeper: asyncio.Task[None] | None = None
        self._kept_until = 0.0
        self._turns = asyncio.Semaphore(TURNS)
        self._slow_turns = asyncio.Semaphore(SLOW_TURNS)
        self._workers: dict[Room, asyncio.Task[None]] = {}
        self._failures = ThrottledWarning(logger, "%d step(s) failed, the last for group %s: %s")
        self._end_doubts = rosters.when_doubtful(partial(self._each_room, Room.doubt))

    @property
    def id(self) -> str:
        return self._lease.id

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        return [*self._workers.values(), *([] if self._keeper is None else [self._keeper])]

    # Rooms

    def room(self, group: str) -> Room:
        """Made if there is none; it is forgotten when nobody has used it for a while."""
        if (room := self.rooms.get(group)) is None:
            room = self.rooms[group] = Room(group, self._lease, self._local, self._take_turn)
            self._start_keeper()
        return room

    def _each_room(self, act: Callable[[Room], None]) -> None:
        for room in self.rooms.values():
            act(room)

    async def members(self, group: str, after: str, count: int) -> list[Member]:
        """A part of the roster, from which those that are dead have been taken out."""
        deadline = self._loop.time() + self._settings.timeout
        while True:
            try:
                return members_of(self._rosters, group, await self._list(group, after, count))
            except ChannelLayerUnavailable:
                if self._loop.time() > deadline or self._closed:
                    raise
            await asyncio.sleep(SHORTEST_PAUSE)

    async def _list(self, group: str, after: str, count: int) -> list[Seen]:
        state = await self._rosters.state(group, self.id, watch=False)
        if state.numbers.keys() - {self.id}:
            # A lease that is kept can find out who is dead.
            self._kept_until = self._loop.time() + LISTED * self._settings.lease
            self._start_keeper()
        room = self.rooms.get(group)
        if room is None and 0 < state.numbers.get(self.id, 0) < ENDING:
            room = self.room(group)  # an older state may say of us what is no more
            room.look(early=True)
        # What an id before this one has left is not dead while it is being written again.
        if room is None or not room.dirty:
            await self._lease.bury(group, state)
        pages = await pages_of(self._rosters, group, after=after, most=count)
        return [seen for page in pages for seen in page.members]

    # Turns

    def _take_turn(self, room: Room) -> None:
        if room.due and room not in self._workers and not self._closed:
            self._workers[room] = self._loop.create_task(self._work(room), name="presence")

    async def _work(self, room: Room) -> None:
        """Until nothing is due; after a pause again, if something has failed."""
        turns, pause = self._turns, SHORTEST_PAUSE
        try:
            while room.due:
                async with turns:
                    done = await self._try(room.work(), room.group)
                if done:
                    turns, pause = self._turns, SHORTEST_PAUSE
                else:
                    await asyncio.sleep(pause)
                    turns, pause = self._slow_turns, min(pause * 2, LONGEST_PAUSE)
        finally:
            del self._workers[room]

    async def _try(self, work: Awaitable[object], group: str = "any") -> bool:
        try:
            await work
        except Exception as error:
            if not isinstance(error, ChannelLayerUnavailable):
                logger.exception("A step of presence failed for group %s", group)
            self._failures.add(group, error)
            return False
        return True

    # The lease

    def _start_keeper(self) -> None:
        if self._keeper is None and not self._closed:
            self._keeper = self._loop.create_task(self._keep(), name="presence lease")

    async def _keep(self) -> None:
        """Renew the lease and look at rooms, until nothing has been asked for a while."""
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
                await self._try(self._rosters.resign(process, within=0))
        self._keeper = None

    @property
    def _in_use(self) -> bool:
        return bool(self.rooms) or self._loop.time() < self._kept_until

    def _look_at_rooms(self) -> None:
        remembered = self._loop.time() - REMEMBERED * self._settings.lease
        for group, room in list(self.rooms.items()):
            if room.in_use or room in self._workers or room.used_at > remembered:
                room.look()
            else:
                del self.rooms[group]

    # The end

    async def aclose(self) -> None:
        """Nobody is here any more, and what was here has its grace without us."""
        self._each_room(Room.release_all)
        self._closed = True
        self._end_doubts()
        await cancel_and_wait(self.tasks)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(FAREWELL, self._settings.timeout)):
                await self._say_farewell()
        self.rooms.clear()

    async def _say_farewell(self) -> None:
        """First what matters most: that we are dead in a while, whatever else is said until then."""
        if not self._lease.held:
            return
        process = self.id
        grace = max(self._settings.grace, FAREWELL)
        await self._try(self._rosters.resign(process, within=grace))

        async def say(room: Room) -> None:
            async with self._turns:
                while room.dirty and self.id == process:
                    await room.write()

        rooms = self.rooms.values()
        await asyncio.gather(*(self._try(say(room)) for room in rooms if room.dirty))
        if not any(room.keys or room.dirty for room in rooms):
            await self._try(self._rosters.resign(process, within=0))
