"""The lease of one process: under which id it writes, and which processes it knows to be dead.

Invariants
- An id that may have been taken for dead is given up at once, and never used again.
- Who is judged dead was absent from a registry that was asked after it had been seen in a roster, and
  that was old enough for each living process to be in it.
"""

import asyncio
import math
from collections.abc import Callable, Collection

from ..exceptions import ChannelLayerUnavailable
from .rosters import Lease, Rosters


class ProcessLease:
    """``length`` and ``patience`` are in seconds; in that time each process that lives has renewed its lease,
    once the registry can be reached. ``on_new_id()`` is called when nothing is written under ``id`` yet,
    ``on_gone()`` when others are not in the registry any more.
    """

    def __init__(
        self,
        name: str,
        rosters: Rosters,
        length: float,
        patience: float,
        *,
        on_new_id: Callable[[], None],
        on_gone: Callable[[], None],
    ) -> None:
        self._name = name
        self._serial = 1
        self._rosters = rosters
        self._length = length
        self._patience = patience
        self._on_new_id = on_new_id
        self._on_gone = on_gone
        self._deadline: int | None = None  # as told by the registry
        self._held_since: float | None = None  # without a gap
        self._age = 0.0  # of the registry
        self._processes: frozenset[str] = frozenset()  # in it, when it was asked
        self._asked_at = -math.inf
        self._dead: set[str] = set()
        self._renewing = asyncio.Lock()

    @property
    def id(self) -> str:
        return f"{self._name}.{self._serial}"

    @property
    def held(self) -> bool:
        return self._deadline is not None

    async def register(self) -> None:
        """Before anything is written under ``id``."""
        if not self.held:
            await self.renew()

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
            self._on_gone()

    async def _renew_once(self) -> Lease | None:
        """``may_sweep``: an outage that ends others' leases ends this one as well."""
        loop, since = asyncio.get_running_loop(), self._held_since
        lease = await self._rosters.renew(
            self.id,
            self._deadline,
            lease=self._length,
            may_sweep=since is not None and loop.time() - since >= self._patience,
        )
        if lease is not None and (lease.lapsed or since is None):
            self._held_since = loop.time()  # the question may have been on its way for long
        return lease

    def end(self, process: str) -> None:
        """Go on under another id, if this is the present one: others may take it for dead."""
        if process == self.id:
            self._dead.add(process)
            self._serial += 1
            self._deadline = self._held_since = None
            self._on_new_id()

    async def resign(self, process: str, *, within: float) -> None:
        await self._rosters.resign(process, within=within)

    async def dead_among(self, seen: Collection[str]) -> set[str]:
        """Those of the processes seen in a roster that are dead."""
        is_news = asyncio.get_running_loop().time() - self._asked_at < self._length
        alive = self._processes - self._dead if is_news else frozenset()
        absent = set(seen) - {self.id} - alive
        if absent - self._dead:
            await self.renew()  # and so ask for the registry after the roster
            if self._age >= self._patience:
                self._dead |= absent - self._processes - {self.id}
        return absent & self._dead
