"""The lease of one process: under which id it writes, which processes it knows to be dead, and their burial.

Invariants
- An id that may have been taken for dead is given up at once, and never used again.
- Who is judged dead was absent from a registry that was asked after it had been seen in a roster, and
  that was old enough for each living process to be in it.
"""

import asyncio
import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from ..exceptions import ChannelLayerUnavailable
from .rosters import DEAD, ENDING, Hold, Lease, Rosters, State, pages_of


@dataclass(frozen=True)
class Settings:
    """All times in seconds; ``timeout`` is that of one operation."""

    grace: float
    lease: float
    max_members: int
    max_info: int
    timeout: float

    @property
    def patience(self) -> float:
        """In which each process that lives has renewed its lease, once the registry can be reached."""
        return max(self.lease, 2 * self.timeout)


@dataclass(eq=False)
class ProcessLease:
    """``on_new_id()`` is called when nothing is written under ``id`` yet, ``on_gone()`` when others are
    not in the registry any more.
    """

    name: str
    rosters: Rosters
    settings: Settings
    on_new_id: Callable[[], None]
    on_gone: Callable[[], None]
    numbers: Iterator[int] = field(default_factory=partial(count, 1))  # of writes
    _serial: int = 1
    _deadline: int | None = None  # as told by the registry
    _held_since: float | None = None  # without a gap
    _age: float = 0.0  # of the registry
    _processes: frozenset[str] = frozenset()  # in it, when it was asked
    _asked_at: float = -math.inf
    _dead: set[str] = field(default_factory=set)
    _renewing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def id(self) -> str:
        return f"{self.name}.{self._serial}"

    @property
    def held(self) -> bool:
        return self._deadline is not None

    async def register(self) -> str:
        """Before anything is written under the id, which is returned."""
        if not self.held:
            await self.renew()
        return self.id

    async def renew(self) -> None:
        async with self._renewing:
            asked = asyncio.get_running_loop().time()
            lease = await self._renew_once()
            if lease is None:
                self.end(self.id)
                lease = await self._renew_once()
            if lease is None:
                raise ChannelLayerUnavailable("The registry of processes does not keep a new one")
            gone = self._processes - lease.processes - self._dead
            self._deadline, self._processes = lease.deadline, lease.processes
            self._age, self._asked_at = lease.age, asked
        if gone:
            self.on_gone()

    async def _renew_once(self) -> Lease | None:
        """``may_sweep``: an outage that ends others' leases ends this one as well."""
        loop, since = asyncio.get_running_loop(), self._held_since
        sweep = since is not None and loop.time() - since >= self.settings.patience
        length = self.settings.lease
        lease = await self.rosters.renew(self.id, self._deadline, lease=length, may_sweep=sweep)
        if lease is not None and (lease.lapsed or since is None):
            self._held_since = loop.time()  # the question may have been on its way for long
        return lease

    def end(self, process: str) -> None:
        """Go on under another id, if this is the present one: others may take it for dead."""
        if process == self.id:
            self._dead.add(process)
            self._serial += 1
            self._deadline = self._held_since = None
            self.on_new_id()

    async def bury(self, group: str, state: State) -> None:
        """Take out of a roster in this state what those have left in it that are dead."""
        unburied = {process for process, number in state.numbers.items() if number < DEAD}
        ending = {process for process in unburied if state.numbers[process] >= ENDING}
        dead = await self._dead_among(unburied)
        for process in (dead | ending | state.stale) & unburied - {self.id}:
            await self._sweep(group, process)

    async def _dead_among(self, seen: Collection[str]) -> set[str]:
        """Those of the processes seen in a roster that are dead."""
        is_news = asyncio.get_running_loop().time() - self._asked_at < self.settings.lease
        alive = self._processes - self._dead if is_news else frozenset()
        absent = set(seen) - {self.id} - alive
        if absent - self._dead:
            await self.renew()  # and so ask for the registry after the roster
            if self._age >= self.settings.patience:
                self._dead |= absent - self._processes - {self.id}
        return absent & self._dead

    async def _sweep(self, group: str, process: str) -> None:
        """Lost, if the server comes back with an older state meanwhile: then the next look finds it there."""
        write = partial(self.rosters.write, group, process, limit=self.settings.max_members)
        await write(ENDING, {})
        for page in await pages_of(self.rosters, group, of=process):
            if nothing := {member.key: Hold(0, 0, b"") for member in page.members}:
                await write(ENDING, nothing, after=ENDING)
        await write(DEAD, {}, after=ENDING)
