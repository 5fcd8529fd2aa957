"""How a topic finds its server. Delivery above does not know whether there is one, several or a Cluster.

A route is the pair of what a peer needs for one topic: where its commands go, and who listens.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ...exceptions import ChannelLayerUnavailable
from .endpoints import Endpoint
from .link import Command, Link, OnMessage, Pending, Reply
from .persistent import PersistentLink
from .subscriber import PartOf, Subscriber, one_part
from .utils import consistent_hash

# In a command: what reaches its topic's listeners. A Cluster that shards them puts SPUBLISH there.
PUBLISH = "PUBLISH"


@dataclass(frozen=True)
class Events:
    """What a topology tells its peer.

    ``on_lost()``: something that was listened to is not heard any more. ``on_subscribing(topics,
    since)`` is called before they are subscribed, for the first time or again; what was published to
    them since that time of ``time.monotonic`` may not have been heard. Its result goes to
    ``on_subscribed(topics, mark)`` when the server has confirmed. ``on_open()``: nothing that is
    wanted on one connection is left to subscribe. A topology calls it with at most ``BATCH`` topics,
    and none of these functions may take long.
    """

    on_message: OnMessage
    on_lost: Callable[[], None]
    on_subscribing: Callable[[list[str], float], Any]
    on_subscribed: Callable[[list[str], Any], None]
    on_open: Callable[[], None]
    on_ended: Callable[[str], None] = lambda _: None  # the server ended a subscription by itself


class Commands(Protocol):
    """Executes commands where one topic lives."""

    @property
    def link(self) -> Link | None:
        """The open link, if there is one."""
        ...

    @property
    def by_bus(self) -> bool:
        """Notifications may reach listeners over the bus of a Cluster."""
        ...

    @property
    def server(self) -> object:
        """Stands for the server; the same for all topics that live there at the moment."""
        ...

    @property
    def part(self) -> object:
        """The same for all topics that one command may name."""
        ...

    def enlist(self, command: Command, reply: Pending, deadline: float) -> Link | None:
        """See ``PersistentLink.enlist``."""
        ...

    def unavailable(self) -> ChannelLayerUnavailable:
        """What is raised when the time is over."""
        ...

    def turn(self, deadline: float) -> Awaitable[None]:
        """See ``PersistentLink.turn``."""
        ...

    def execute(
        self, *command: Any, repeatable: bool = True, replicated: bool = False
    ) -> Awaitable[Reply]:
        """See ``PersistentLink.execute``."""
        ...

    def complete(
        self,
        command: Command,
        deadline: float,
        *,
        repeatable: bool,
        replicated: bool,
        after: Exception | None,
    ) -> Awaitable[Reply]:
        """See ``PersistentLink.complete``."""
        ...


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

    async def primaries(self) -> list[Commands]:
        """One for each server that holds a part of the keys."""
        ...

    async def aclose(self) -> None: ...


class Shard:
    """One endpoint: a link for commands, and one for subscriptions."""

    def __init__(
        self,
        endpoint: Endpoint,
        timeout: float,
        events: Events,
        *,
        part_of: PartOf = one_part,
        sharded: bool = False,
    ) -> None:
        self.commands = PersistentLink(endpoint, timeout)
        self.subscriber = Subscriber(endpoint, timeout, events, part_of=part_of, sharded=sharded)
        self.route = Route(self.commands, self.subscriber)

    def start(self) -> None:
        self.commands.start()
        self.subscriber.start()

    async def aclose(self) -> None:
        await asyncio.gather(self.commands.aclose(), self.subscriber.aclose())


class Shards:
    """Servers that know nothing of each other; a topic's name alone chooses one of them."""

    def __init__(self, endpoints: list[Endpoint], timeout: float, events: Events) -> None:
        self._shards = [Shard(endpoint, timeout, events) for endpoint in endpoints]

    def start(self) -> None:
        for shard in self._shards:
            shard.start()

    def route(self, topic: str) -> Route:
        shards = self._shards
        index = consistent_hash(topic, len(shards)) if len(shards) > 1 else 0
        return shards[index].route

    async def primaries(self) -> list[Commands]:
        return [shard.commands for shard in self._shards]

    async def aclose(self) -> None:
        await asyncio.gather(*(shard.aclose() for shard in self._shards))
