"""How a topic finds its server, where servers know nothing of each other.

Delivery above knows a ``Topology`` and its ``Route``: where a topic's commands go, and what subscribes.
"""

import asyncio
import zlib
from dataclasses import dataclass
from typing import Protocol

from .commands import Commands, ServerCommands
from .hosts import Endpoint
from .keeper import KeptConnection
from .subscriber import Events, PartOf, Subscriber, one_part


class Subscriptions(Protocol):
    """See ``Subscriber``."""

    @property
    def down(self) -> bool: ...

    def want(self, topic: str) -> None: ...

    def wants(self, topic: str) -> bool: ...

    def confirmed(self, topic: str) -> bool: ...

    async def add(self, topic: str) -> bool: ...

    def discard(self, topic: str) -> None: ...


@dataclass(frozen=True)
class Route:
    commands: Commands
    subscriber: Subscriptions


class Topology(Protocol):
    def start(self) -> None: ...

    def route(self, topic: str) -> Route: ...

    def commands_of_key(self, key: str) -> Commands:
        """Where a key lives, also where topics are no keys."""
        ...

    async def primaries(self) -> list[Commands]:
        """One for each server that holds a part of the keys."""
        ...

    async def aclose(self) -> None: ...


class Server:
    """One endpoint: a connection for commands, and one for subscriptions."""

    def __init__(
        self,
        endpoint: Endpoint,
        timeout: float,
        events: Events,
        *,
        part_of: PartOf = one_part,
        sharded: bool = False,
    ) -> None:
        self.kept = KeptConnection(endpoint, timeout)
        self.subscriber = Subscriber(endpoint, timeout, events, part_of=part_of, sharded=sharded)
        self.route = Route(ServerCommands(self.kept), self.subscriber)

    def start(self) -> None:
        self.kept.start()
        self.subscriber.start()

    async def aclose(self) -> None:
        await asyncio.gather(self.kept.aclose(), self.subscriber.aclose())


class Servers:
    """One or several; a topic's name alone chooses one of them."""

    def __init__(self, endpoints: list[Endpoint], timeout: float, events: Events) -> None:
        self._servers = [Server(endpoint, timeout, events) for endpoint in endpoints]

    def start(self) -> None:
        for server in self._servers:
            server.start()

    def route(self, topic: str) -> Route:
        servers = self._servers
        index = shard_index(topic, len(servers)) if len(servers) > 1 else 0
        return servers[index].route

    def commands_of_key(self, key: str) -> Commands:
        return self.route(key).commands

    async def primaries(self) -> list[Commands]:
        return [server.route.commands for server in self._servers]

    async def aclose(self) -> None:
        await asyncio.gather(*(server.aclose() for server in self._servers))


def shard_index(topic: str, number: int) -> int:
    """An index below ``number``, the same for the same topic in every process."""
    return zlib.crc32(topic.encode()) % number
