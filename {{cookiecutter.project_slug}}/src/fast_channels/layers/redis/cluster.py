"""Redis Cluster: a topic lives where its slot is, and slots move.

Invariants
- ``_map`` is what some node last said of the slots. Anything that contradicts it (a redirection, a
  lost connection, a subscription that the server ended) has it asked for again, at most every
  ``MIN_REFRESH`` seconds, until nothing contradicts it.
- A wanted topic is listened to at the node in ``_placed``. When it has to be another one, or the
  server ended the subscription, the topic counts as lost (so that a log is read on from where it
  was) before it is subscribed again; it is confirmed only then.
- On Redis 7 and later publish/subscribe is sharded: a notification stays on its slot's node, and the
  subscription follows the slot. Before, it goes to all nodes over the cluster bus, and the
  subscription stays where it is.
- A node that holds no slot any more has no connection.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from typing import Any

from redis.exceptions import AskError, ClusterError, MovedError, NoScriptError, TryAgainError

from ...exceptions import ChannelLayerUnavailable
from .endpoints import Endpoint
from .link import CONNECTION_ERRORS, Command, Link, LinkLost, Pending, Reply
from .persistent import NotConnected
from .script import with_source
from .slots import SlotMap, ask, is_sharded
from .topology import PUBLISH, Commands, Events, Route, Shard, Shards, Topology
from .type_defs import Address
from .utils import consistent_hash

logger = logging.getLogger(__name__)

MIN_REFRESH = 0.2  # seconds
MAX_REFRESH = 15.0
PATIENCE = 0.5  # seconds that an operation waits for one node before it looks at the map again
SPUBLISH = "SPUBLISH"


class Cluster:
    """The topology of one Cluster; also the subscriptions of all its topics.

    ``keyed`` says that topics are keys too, and so have to be where their slots are.
    """

    def __init__(self, endpoint: Endpoint, timeout: float, events: Events, *, keyed: bool) -> None:
        self._keyed = keyed
        self._endpoint = endpoint
        self._timeout = timeout
        self._events = events
        self._map = SlotMap([], endpoint.cluster[0])
        self._nodes: dict[Address, Shard] = {}
        self._placed: dict[str, Shard] = {}
        self._homeless: set[str] = set()  # wanted topics without a confirmed place
        self._sharded = False
        self._stale = asyncio.Event()
        self._stale.set()
        self._mapped = asyncio.Event()
        self._error: BaseException | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._moving: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name=f"redis {self._endpoint}")

    async def aclose(self) -> None:
        tasks = [task for task in (self._keeper, *self._moving) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._keeper = None
        await asyncio.gather(*(node.aclose() for node in self._nodes.values()))

    def route(self, topic: str) -> Route:
        return Route(_ClusterCommands(self, topic), self)

    async def primaries(self) -> list[Commands]:
        self.start()
        try:
            async with asyncio.timeout(self._timeout):
                await self._mapped.wait()
        except TimeoutError:
            raise self._unavailable() from self._error
        return [node.commands for node in self._nodes.values()]

    # Commands

    @property
    def by_bus(self) -> bool:
        return not self._sharded  # also while that is not known: it is the safe assumption

    def link(self, topic: str) -> Link | None:
        node = self._node_now(topic)
        return None if node is None else node.commands.link

    def enlist(self, topic: str, command: Command, reply: Pending, deadline: float) -> Link | None:
        node = self._node_now(topic)
        if node is None:
            return None
        return node.commands.enlist(self._adapted(command), reply, deadline)

    async def complete(
        self,
        topic: str,
        command: Command,
        deadline: float | None = None,
        *,
        repeatable: bool,
        replicated: bool,
        after: Exception | None = None,
    ) -> Reply:
        self.start()
        if deadline is None:
            deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            while True:
                try:
                    ended, after = after, None
                    return await self._attempt(topic, command, deadline, replicated, ended)
                except LinkLost:
                    if not repeatable:
                        raise
                except NoScriptError:
                    command = with_source(command)
                    continue
                except (NotConnected, MovedError, ClusterError, TryAgainError) as error:
                    self._error = error
                self._stale.set()
                async with asyncio.timeout_at(deadline):
                    await asyncio.sleep(MIN_REFRESH / 4)
        except LinkLost as error:
            self._stale.set()
            raise ChannelLayerUnavailable(
                f"The connection to {self._endpoint} was lost before {command[0]} was confirmed"
            ) from error
        except TimeoutError:
            raise self._unavailable() from self._error

    async def _attempt(
        self,
        topic: str,
        command: Command,
        deadline: float,
        replicated: bool,
        ended: Exception | None,
    ) -> Reply:
        """``ended`` is how the attempt ended that was made already."""
        node = self._node_now(topic)
        if node is None:
            async with asyncio.timeout_at(deadline):
                node = await self._node(topic)
        connected_by = min(asyncio.get_running_loop().time() + PATIENCE, deadline)
        try:
            if ended is not None:
                raise ended
            return await node.commands.attempt(
                self._adapted(command), deadline, connected_by=connected_by, replicated=replicated
            )
        except MovedError:  # an AskError by inheritance
            raise
        except AskError as error:
            async with asyncio.timeout_at(deadline):
                return await self._ask((error.host, error.port), *self._adapted(command))

    def _adapted(self, command: Command) -> Command:
        if self._sharded:
            return tuple(SPUBLISH if part is PUBLISH else part for part in command)
        return command

    async def _ask(self, address: Address, *command: Any) -> Reply:
        """The slot is on its way to that node: only a command behind ASKING is served there."""
        link = await self._open_node(address).commands.connected()
        link.post("ASKING")
        return await link.call(*command)

    def _unavailable(self) -> ChannelLayerUnavailable:
        return ChannelLayerUnavailable(
            f"{self._endpoint} did not answer within {self._timeout} s; "
            f"last error: {self._error or 'none'}"
        )

    # Subscriptions

    @property
    def down(self) -> bool:
        return not self._mapped.is_set() and self._error is not None

    def want(self, topic: str) -> None:
        self._homeless.add(topic)
        self._stale.set()
        self.start()

    def wants(self, topic: str) -> bool:
        return topic in self._placed or topic in self._homeless

    async def add(self, topic: str) -> bool:
        self.start()
        placed = self._placed.get(topic)
        if placed is not None and placed.subscriber.confirmed(topic):
            return False
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    node = await self._node(topic)
                    self._place(topic, node)
                    try:
                        async with asyncio.timeout(PATIENCE):
                            await node.subscriber.add(topic)
                        self._homeless.discard(topic)
                        return True
                    except (TimeoutError, ChannelLayerUnavailable) as error:
                        self._error = error
                        self._stale.set()
                        await asyncio.sleep(MIN_REFRESH / 4)
        except TimeoutError:
            raise self._unavailable() from self._error

    def discard(self, topic: str) -> None:
        self._homeless.discard(topic)
        node = self._placed.pop(topic, None)
        if node is not None:
            node.subscriber.discard(topic)

    def _place(self, topic: str, node: Shard) -> None:
        former = self._placed.get(topic)
        if former is not None and former is not node:
            former.subscriber.discard(topic)
        self._placed[topic] = node

    def _on_lost(self, topics: list[str]) -> None:
        """A node's connection is gone, or the server ended subscriptions on it."""
        self._stale.set()
        self._homeless.update(topic for topic in topics if topic in self._placed)
        self._events.on_lost(topics)

    async def _on_open(self, topics: list[str]) -> None:
        await self._events.on_open(topics)
        self._homeless.difference_update(topics)

    async def _settle(self, topic: str) -> None:
        """Find a place for a topic that lost its own, for as long as it is wanted."""
        while topic in self._homeless:
            with contextlib.suppress(ChannelLayerUnavailable):
                await self.add(topic)
                if self.wants(topic):
                    await self._events.on_open([topic])

    # The map

    def _node_now(self, topic: str) -> Shard | None:
        if self._keyed or self._sharded:
            address = self._map.owner(topic)
        else:  # any node will do: one that stays the same when slots move keeps the order
            addresses = sorted(self._map.addresses)
            address = addresses[consistent_hash(topic, len(addresses))] if addresses else None
        return None if address is None else self._nodes.get(address)

    async def _node(self, topic: str) -> Shard:
        while (node := self._node_now(topic)) is None:
            self._stale.set()
            await asyncio.sleep(MIN_REFRESH / 4)
        return node

    def _open_node(self, address: Address) -> Shard:
        node = self._nodes.get(address)
        if node is None:
            events = Events(self._events.on_message, self._on_open, self._on_lost)
            node = Shard(self._endpoint.at(address), self._timeout, events, sharded=self._sharded)
            self._nodes[address] = node
        return node

    async def _keep(self) -> None:
        while True:
            self._stale.clear()
            try:
                await self._refresh()
            except CONNECTION_ERRORS as error:
                if str(error) != str(self._error):
                    logger.warning("No map of %s: %s", self._endpoint, error)
                self._error = error
                self._stale.set()
            await asyncio.sleep(MIN_REFRESH)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stale.wait(), MAX_REFRESH)

    async def _refresh(self) -> None:
        new_map = await self._ask_for_map()
        if not new_map.addresses:
            raise LinkLost("The Cluster serves no slot yet")
        self._map = new_map
        for address in new_map.addresses:
            self._open_node(address)
        self._mapped.set()
        remaining = {self._nodes[address] for address in new_map.addresses}
        for topic, node in list(self._placed.items()):
            # Unsharded notifications reach every node, so only a node that goes away is left.
            stays = self._node_now(topic) is node if self._sharded else node in remaining
            if not stays and topic not in self._homeless:
                node.subscriber.discard(topic)
                self._on_lost([topic])
        for topic in self._homeless - {task.get_name() for task in self._moving}:
            task = asyncio.create_task(self._settle(topic), name=topic)
            self._moving.add(task)
            task.add_done_callback(self._moving.discard)
        gone = self._nodes.keys() - new_map.addresses
        await asyncio.gather(*(self._nodes.pop(address).aclose() for address in gone))

    async def _ask_for_map(self) -> SlotMap:
        """The answer of the first node that gives one, whichever is known."""
        last: BaseException = LinkLost("No node is known")
        for address in [*self._nodes, *self._endpoint.cluster]:
            connection = self._endpoint.at(address).pool().make_connection()
            try:
                async with asyncio.timeout(PATIENCE * 2):
                    await connection.connect()
                    slots = await ask(connection, "CLUSTER", "SLOTS")
                    self._sharded = await is_sharded(connection)
                return SlotMap(slots, address)
            except CONNECTION_ERRORS as error:
                last = error
            finally:
                await connection.disconnect(nowait=True)
        raise last


def make_topology(
    endpoints: list[Endpoint], timeout: float, events: Events, *, keyed: bool
) -> Topology:
    """A Cluster if the endpoint is one, else the shards; a Cluster is not sharded once more."""
    if any(endpoint.cluster for endpoint in endpoints):
        if len(endpoints) > 1:
            raise ValueError("A Redis Cluster must be the only entry of hosts")
        return Cluster(endpoints[0], timeout, events, keyed=keyed)
    return Shards(endpoints, timeout, events)


class _ClusterCommands:
    """Commands of one topic, executed where its slot is at the moment."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self._cluster = cluster
        self._topic = topic

    @property
    def link(self) -> Link | None:
        return self._cluster.link(self._topic)

    @property
    def by_bus(self) -> bool:
        return self._cluster.by_bus

    def enlist(self, command: Command, reply: Pending, deadline: float) -> Link | None:
        return self._cluster.enlist(self._topic, command, reply, deadline)

    def execute(
        self, *command: Any, repeatable: bool = True, replicated: bool = False
    ) -> Awaitable[Reply]:
        return self._cluster.complete(
            self._topic, command, repeatable=repeatable, replicated=replicated
        )

    def complete(
        self,
        command: Command,
        deadline: float,
        *,
        repeatable: bool,
        replicated: bool,
        after: Exception | None,
    ) -> Awaitable[Reply]:
        return self._cluster.complete(
            self._topic,
            command,
            deadline,
            repeatable=repeatable,
            replicated=replicated,
            after=after,
        )
