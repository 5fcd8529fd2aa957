"""The faults of Redis and of web processes, one class each, and the run of any of them.

A fault owns its servers. `strike()` does its damage and returns when that is over; `heal()` brings
back what a next round needs. Both block, and run in a thread beside the load.
"""

import asyncio
import sys
import time
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from fast_channels.layers.redis.format import Topics

from ..support.redis_servers import ClusterGroup, RedisServer, SentinelGroup, wait_until
from .app import GROUP
from .processes import WebProcess
from .report import Result
from .traffic import Load, Traffic

PREFIX = "faults"
AWAY_SECONDS = 1.0  # between the death of a Redis and its restart
BETWEEN_SECONDS = 1.0  # of undisturbed load between two rounds
FREEZE_SECONDS = 6.0  # a link gives a silent server up within 5 s, and so does a send
KILL_SECONDS = 3.0
KILL_INTERVAL = 0.05
# What comes in one piece when a frozen process wakes up must have room, or it is rightly dropped.
CAPACITY = 5000


class Fault(ABC):
    name: ClassVar[str]
    servers: AbstractContextManager[Any]

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def strike(self, web: list[WebProcess]) -> None: ...

    def heal(self) -> None:
        """Nothing to do, in most cases."""


class Failover(Fault):
    name = "failover"

    def __init__(self) -> None:
        self.servers = self._group = SentinelGroup()
        self._killed: RedisServer | None = None

    @property
    def url(self) -> str:
        return self._group.url

    def strike(self, web: list[WebProcess]) -> None:
        self._killed = self._group.primary()
        self._killed.kill()

    def heal(self) -> None:
        if self._killed is None:
            return
        primary = self._group.wait_ready(other_than=self._killed)
        self._killed.start()
        # As the Sentinels would do themselves after some 10 s, until when it takes itself for one.
        self._killed.execute("REPLICAOF", primary.host, primary.port)
        self._group.wait_ready()


class Stale(Failover):
    """The old primary was not dead: it wakes up beside its successor and takes writes again, until
    the Sentinels notice it after some 10 s.
    """

    name = "stale"

    def strike(self, web: list[WebProcess]) -> None:
        old = self._group.primary()
        old.pause()
        wait_until(lambda: self._successor_of(old), what=f"a successor of {old!r}", timeout=60)
        old.resume()

    def heal(self) -> None:
        self._group.wait_ready()

    def _successor_of(self, old: RedisServer) -> bool:
        try:
            return self._group.primary() is not old
        except LookupError:  # the Sentinels hear of it one after another
            return False


class Cluster(Fault):
    name = "cluster"

    def __init__(self) -> None:
        self.servers = self._nodes = ClusterGroup(replicas=2)  # one is left to confirm
        self._killed: RedisServer | None = None

    @property
    def url(self) -> str:
        return self._nodes.url

    def strike(self, web: list[WebProcess]) -> None:
        self._killed = self._nodes.primary_of(Topics(PREFIX).group(GROUP))
        self._killed.kill()

    def heal(self) -> None:
        if self._killed is not None:
            self._nodes.wait_ready()
            self._killed.start()
            self._nodes.wait_ready()


class OnOneServer(Fault):
    def __init__(self) -> None:
        self.servers = self._server = RedisServer(appendonly=True)

    @property
    def url(self) -> str:
        return self._server.url


class Restart(OnOneServer):
    name = "restart"

    def strike(self, web: list[WebProcess]) -> None:
        self._server.kill()
        time.sleep(AWAY_SECONDS)
        self._server.start()


class Kill(OnOneServer):
    name = "kill"

    def strike(self, web: list[WebProcess]) -> None:
        end = time.monotonic() + KILL_SECONDS
        while time.monotonic() < end:
            for kind in ("normal", "pubsub"):
                self._server.execute("CLIENT", "KILL", "TYPE", kind)
            time.sleep(KILL_INTERVAL)


class Freeze(OnOneServer):
    name = "freeze"

    def strike(self, web: list[WebProcess]) -> None:
        self._server.pause()
        time.sleep(FREEZE_SECONDS)
        self._server.resume()


class Consumer(OnOneServer):
    name = "consumer"

    def __init__(self) -> None:
        super().__init__()
        self._turns = cycle(range(2))

    def strike(self, web: list[WebProcess]) -> None:
        process = web[next(self._turns)]
        process.freeze()
        time.sleep(FREEZE_SECONDS)
        process.thaw()


FAULTS: dict[str, type[Fault]] = {
    fault.name: fault for fault in (Failover, Stale, Cluster, Restart, Kill, Freeze, Consumer)
}


async def run(case: str, layer: str, *, rounds: int, load: Load, replicated: bool) -> Result:
    """Strike `rounds` times. `replicated` asks the queue layer for that durability where there are
    replicas; without it the last messages before a kill may be lost, and are only counted.
    """
    fault = FAULTS[case]()
    settings: dict[str, Any] = {"kind": layer, "prefix": PREFIX, "capacity": CAPACITY}
    result = Result(case, layer)
    if layer == "pubsub":
        result.allowed = frozenset({"lost"})
    elif isinstance(fault, (Failover, Cluster)):
        if replicated:
            settings["durability"] = "replicated"
        else:
            result.allowed = frozenset({"lost"})
    with TemporaryDirectory(prefix="faults-") as folder, fault.servers:
        settings["hosts"] = [fault.url]
        async with Traffic(settings, load, Path(folder)) as traffic:
            for n in range(rounds):
                if n > 0:
                    await asyncio.to_thread(fault.heal)
                    await asyncio.sleep(BETWEEN_SECONDS)
                await asyncio.to_thread(fault.strike, traffic.web)
                over = time.monotonic()
                result.recovery.append(await traffic.recover() - over)
                print(f"{case} {layer} {n + 1}: {result.recovery[-1]:.2f} s", file=sys.stderr)
            await traffic.count(result)
    return result
