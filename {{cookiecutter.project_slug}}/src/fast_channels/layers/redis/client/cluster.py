"""Redis Cluster: a topic lives where its slot is, and slots move.

Invariants
- ``_map`` is what some node last said of the slots. Anything that contradicts it (a redirection, a
  lost connection, a subscription that the server ended) has it asked for again, at most every
  ``MIN_REFRESH`` seconds, until nothing contradicts it.
- A wanted topic is listened to at the node where it is placed, which is subscribed to again after a
  broken connection. With a new map the topics that have to be elsewhere are placed again,
  without waiting for any node; so are those whose subscription the server ended.
- On Redis 7 and later publish/subscribe is sharded: a notification stays on its slot's node, and the
  subscription follows the slot. Before, it goes to all nodes over the cluster bus, and the
  subscription stays where it is.
- A node that holds no slot any more has no connection.
"""

import asyncio
import contextlib
import logging
import time
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, ClusterError, MovedError, TryAgainError

from ....exceptions import ChannelLayerUnavailable
from ....tasks import cancel_and_wait, is_cancelled
from .commands import (
    CONNECTION_ERRORS,
    DIRECT,
    PUBLISH,
    Command,
    Commands,
    Connection,
    ConnectionLost,
    Reply,
)
from .hosts import Address, Endpoint
from .servers import BATCH, Events, Server, Servers, shard_index

logger = logging.getLogger(__name__)

MIN_REFRESH = 0.2  # seconds
MAX_REFRESH = 15.0
PATIENCE = 1.0  # seconds to wait for one node
PAUSE = 0.05  # seconds before another attempt
SHARDED_SINCE = 7  # major version of Redis; Valkey says 7 for compatibility
MISPLACED = (MovedError, AskError, ClusterError, TryAgainError)  # the topic lives elsewhere
SPUBLISH, BY_BUS = "SPUBLISH", "by bus"


class SlotMap:
    """Which address holds which slot, from the reply of CLUSTER SLOTS.

    ``sharded`` says whether publish/subscribe follows the slots too.
    """

    def __init__(self, reply: list[list[Any]], asked: Address, *, sharded: bool) -> None:
        self.sharded = sharded
        self.owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self.addresses: set[Address] = set()
        for first, last, (host, port, *_), *_ in reply:
            # A node that does not know its own address leaves the host empty.
            address = (host.decode() or asked[0], port)
            self.owners[first : last + 1] = [address] * (last + 1 - first)
            self.addresses.add(address)


class Cluster(Servers):
    """The topology of one Cluster.

    ``keyed`` says that topics are keys too, and so have to be where their slots are.
    """

    def __init__(self, endpoint: Endpoint, timeout: float, events: Events, *, keyed: bool) -> None:
        super().__init__([], timeout, events)
        self._keyed = keyed
        self._loop = asyncio.get_running_loop()
        self.endpoint = endpoint
        self._map = SlotMap([], endpoint.cluster[0], sharded=False)
        self._nodes: dict[Address, Server] = {}
        self._placed: dict[str, Server] = {}  # what is listened to, and where
        self._unplaced: dict[str, float] = {}  # what is to be, and since when it may not be heard
        self._stale = asyncio.Event()
        self._stale.set()
        self._error: BaseException | None = None
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name=f"redis {self.endpoint}")

    async def aclose(self) -> None:
        if self._keeper is not None:
            await cancel_and_wait([self._keeper])
            self._keeper = None
        await asyncio.gather(*(node.aclose() for node in self._nodes.values()))

    # Where a topic lives

    @property
    def sharded(self) -> bool:
        return self._map.sharded

    def commands(self, topic: str) -> Commands:
        return ClusterCommands(self, topic)

    def commands_of_key(self, key: str) -> Commands:
        return ClusterCommands(self, key, keyed=True)

    async def primaries(self) -> list[Commands]:
        await self.commands("").connected(self._loop.time() + self.timeout)
        return [node.commands for node in self._nodes.values()]

    def slot_of(self, topic: str) -> int:
        slot: int = key_slot(topic.encode())
        return slot

    def node_now(self, topic: str, keyed: bool = False) -> Server | None:
        if keyed or self._keyed or self.sharded:
            address = self._map.owners[self.slot_of(topic)]
        else:  # any node will do: one that stays the same when slots move keeps the order
            addresses = sorted(self._map.addresses)
            address = addresses[shard_index(topic, len(addresses))] if addresses else None
        return None if address is None else self._nodes.get(address)

    def unavailable(self) -> ChannelLayerUnavailable:
        return ChannelLayerUnavailable(
            f"{self.endpoint} did not answer within {self.timeout} s; "
            f"last error: {self._error or 'none'}"
        )

    # Listening

    def listened_at(self, topic: str) -> Server | None:
        return self._placed.get(topic)

    def down(self, topic: str) -> bool:
        return not self._map.addresses and self._error is not None

    def want(self, topic: str) -> None:
        """At its node, or since now as soon as the map names one."""
        self.start()
        node, former = self.node_now(topic), self._placed.get(topic)
        if node is None:
            deaf_since = time.monotonic() if former is None else former.deaf_since
            self._unplaced.setdefault(topic, deaf_since)
            self.mark_stale()
            return
        since = self._unplaced.pop(topic, None)
        if former is not None and former is not node:
            since = since or former.deaf_since
            former.discard(topic)
        self._placed[topic] = node
        node.want(topic, since)

    def discard(self, topic: str) -> None:
        super().discard(topic)
        self._placed.pop(topic, None)
        self._unplaced.pop(topic, None)

    def refused(self, topics: list[str], error: Exception) -> None:
        self.mark_stale(error)
        if not isinstance(error, MISPLACED):
            self.settle(topics, error)

    def lost(self) -> None:
        self.mark_stale()
        super().lost()

    def ended(self, topic: str) -> None:
        """Its slot has moved."""
        if topic in self._placed:
            self._unplaced.setdefault(topic, time.monotonic())
        self.lost()

    async def _place_again(self, nodes: set[Server], *, moved: bool) -> None:
        """Listen to each topic at one of the map's nodes, a batch at a time.

        What is placed already is looked at only if slots have ``moved``.
        """
        topics = [*self._placed, *self._unplaced] if moved else [*self._unplaced]
        for number, topic in enumerate(topics, start=1):
            if number % BATCH == 0:
                await asyncio.sleep(0)
            if topic in self._unplaced or not self._stays(topic, nodes):
                self.want(topic)

    def _stays(self, topic: str, nodes: set[Server]) -> bool:
        node = self._placed.get(topic)
        if node is None:  # it was discarded
            return True
        # Unsharded notifications reach every node, so only a node that goes away is left.
        return self.node_now(topic) is node if self.sharded else node in nodes

    # The map

    def mark_stale(self, error: BaseException | None = None) -> None:
        """It may be wrong."""
        self._error = error or self._error
        self._stale.set()

    def open_node(self, address: Address) -> Server:
        if address not in self._nodes:
            self._nodes[address] = Server(self.endpoint.at(address), self)
        return self._nodes[address]

    async def _keep(self) -> None:
        """Ask for the map again whenever it may be wrong."""
        while not is_cancelled():
            self._stale.clear()
            try:
                await self._refresh()
            except CONNECTION_ERRORS as error:
                if is_cancelled():  # the loss came in the same step, in place of CancelledError
                    break
                if str(error) != str(self._error):
                    logger.warning("No map of %s: %s", self.endpoint, error)
                self.mark_stale(error)
            await asyncio.sleep(MIN_REFRESH)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(MAX_REFRESH):
                    await self._stale.wait()

    async def _refresh(self) -> None:
        new_map = await self._ask_for_map()
        if not new_map.addresses:
            raise ConnectionLost("The Cluster serves no slot yet")
        self._map, old = new_map, self._map
        nodes = {self.open_node(address) for address in new_map.addresses}
        moved = (new_map.owners, new_map.sharded) != (old.owners, old.sharded)
        if moved:
            self.changed.set()
            self.changed.clear()
        for node in nodes:
            if node.down:  # another one will take over, if it does not come back
                self.mark_stale(node.commands.last_error)
        await self._place_again(nodes, moved=moved)
        gone = self._nodes.keys() - new_map.addresses
        await asyncio.gather(*(self._nodes.pop(address).aclose() for address in gone))

    async def _ask_for_map(self) -> SlotMap:
        """The answer of the first node that gives one, whichever is known."""
        last: BaseException = ConnectionLost("No node is known")
        for address in [*self._nodes, *self.endpoint.cluster]:
            connection = self.endpoint.at(address).pool().make_connection()
            try:
                async with asyncio.timeout(PATIENCE):
                    await connection.connect()
                    slots = await _ask(connection, "CLUSTER", "SLOTS")
                    sharded = await _is_sharded(connection)
                return SlotMap(slots, address, sharded=sharded)
            except CONNECTION_ERRORS as error:
                last = error
            finally:
                if not self._loop.is_closed():
                    await connection.disconnect(nowait=True)
        raise last


async def _ask(connection: AbstractConnection, *command: str) -> Any:
    await connection.send_command(*command, check_health=False)
    return await connection.read_response()


async def _is_sharded(connection: AbstractConnection) -> bool:
    info: bytes = await _ask(connection, "INFO", "server")
    version = next(line for line in info.split(b"\r\n") if line.startswith(b"redis_version:"))
    return int(version.partition(b":")[2].split(b".")[0]) >= SHARDED_SINCE


class ClusterCommands(Commands):
    """For one topic: executed where its slot is at the moment."""

    def __init__(self, cluster: Cluster, topic: str, keyed: bool = False) -> None:
        super().__init__(cluster.timeout, cluster.changed)
        self._cluster = cluster
        self._topic = topic
        self._keyed = keyed

    def __str__(self) -> str:
        return str(self._cluster.endpoint)

    @property
    def _node(self) -> Server | None:
        return self._cluster.node_now(self._topic, self._keyed)

    @property
    def connection(self) -> Connection | None:
        node = self._node
        return None if node is None else node.commands.connection

    def start(self) -> None:
        self._cluster.start()
        self._cluster.mark_stale()
        if (node := self._node) is not None:
            node.commands.start()

    @property
    def server(self) -> object:
        return self._node or self._cluster

    def unavailable(self) -> ChannelLayerUnavailable:
        return self._cluster.unavailable()

    def adapted(self, command: Command) -> Command:
        word, own = (PUBLISH, SPUBLISH) if self._cluster.sharded else (DIRECT, BY_BUS)
        return tuple(own if part is word else part for part in command)

    async def _attempt(
        self, command: Command, deadline: float, replicated: bool, *, again: bool
    ) -> Reply:
        try:
            return await super()._attempt(command, deadline, replicated, again=again)
        except MovedError:  # an AskError by inheritance
            raise
        except AskError as error:
            address = (error.host, error.port)
        # The slot is on its way to that node: only a command behind ASKING is served there.
        connection = await self._cluster.open_node(address).commands.connected(deadline)
        connection.post("ASKING")
        return await connection.execute(self.adapted(command), deadline, again=True)

    async def _overcome(
        self, failure: Exception, command: Command, deadline: float, repeatable: bool
    ) -> Command:
        misplaced = isinstance(failure, MISPLACED)
        if not misplaced:
            command = await super()._overcome(failure, command, deadline, repeatable)
        if misplaced or isinstance(failure, ConnectionLost):
            self._cluster.mark_stale(failure)
            await asyncio.sleep(min(PAUSE, deadline - asyncio.get_running_loop().time()))
        return command


def make_topology(
    endpoints: list[Endpoint], timeout: float, events: Events, keyed: bool
) -> Servers:
    """A Cluster if the endpoint is one, else the shards; a Cluster is not sharded once more."""
    if any(endpoint.cluster for endpoint in endpoints):
        if len(endpoints) > 1:
            raise ValueError("A Redis Cluster must be the only entry of hosts")
        return Cluster(endpoints[0], timeout, events, keyed=keyed)
    return Servers(endpoints, timeout, events)
