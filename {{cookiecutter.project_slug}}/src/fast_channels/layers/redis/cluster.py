"""Redis Cluster: a topic lives where its slot is, and slots move.

Invariants
- ``_map`` is what some node last said of the slots. Anything that contradicts it (a redirection, a
  lost connection, a subscription that the server ended) has it asked for again, at most every
  ``MIN_REFRESH`` seconds, until nothing contradicts it.
- A wanted topic is listened to at the node where it is placed, whose subscriber makes its subscription
  anew after a broken connection. With a new map the topics that have to be elsewhere are placed again,
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
from dataclasses import replace

from ...exceptions import ChannelLayerUnavailable
from ...tasks import cancel_and_wait, is_cancelled
from .cluster_commands import PATIENCE, PAUSE, ClusterCommands
from .endpoints import Endpoint
from .link import CONNECTION_ERRORS, LinkLost
from .slots import SlotMap, ask, is_sharded, slot_of
from .subscriber import BATCH
from .topology import Commands, Events, Route, Shard, Shards, Topology
from .type_defs import Address
from .utils import consistent_hash

logger = logging.getLogger(__name__)

MIN_REFRESH = 0.2  # seconds
MAX_REFRESH = 15.0


class Cluster:
    """The topology of one Cluster.

    ``keyed`` says that topics are keys too, and so have to be where their slots are.
    """

    def __init__(self, endpoint: Endpoint, timeout: float, events: Events, *, keyed: bool) -> None:
        self._keyed = keyed
        self._loop = asyncio.get_running_loop()
        self.endpoint = endpoint
        self.timeout = timeout
        self.subscriptions = ClusterSubscriptions(self)
        self._events = replace(events, on_lost=self.lost, on_ended=self.subscriptions.on_ended)
        self._tell_lost = events.on_lost
        self._map = SlotMap([], endpoint.cluster[0])
        self._nodes: dict[Address, Shard] = {}
        self.sharded = False
        self.waiting = 0  # operations that wait for a node's connection
        self._stale = asyncio.Event()
        self._stale.set()
        self._mapped = asyncio.Event()
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

    def route(self, topic: str) -> Route:
        return Route(ClusterCommands(self, topic), self.subscriptions)

    async def primaries(self) -> list[Commands]:
        self.start()
        try:
            async with asyncio.timeout(self.timeout):
                await self._mapped.wait()
        except TimeoutError:
            raise self.unavailable() from self._error
        return [node.commands for node in self._nodes.values()]

    def contradict(self, error: BaseException | None = None) -> None:
        """The map may be wrong."""
        self._error = error or self._error
        self._stale.set()

    @property
    def down(self) -> bool:
        return not self._mapped.is_set() and self._error is not None

    def unavailable(self) -> ChannelLayerUnavailable:
        return ChannelLayerUnavailable(
            f"{self.endpoint} did not answer within {self.timeout} s; "
            f"last error: {self._error or 'none'}"
        )

    # The map

    def node_now(self, topic: str) -> Shard | None:
        if self._keyed or self.sharded:
            address = self._map.owner(topic)
        else:  # any node will do: one that stays the same when slots move keeps the order
            addresses = sorted(self._map.addresses)
            address = addresses[consistent_hash(topic, len(addresses))] if addresses else None
        return None if address is None else self._nodes.get(address)

    async def node(self, topic: str) -> Shard:
        while (node := self.node_now(topic)) is None:
            self._stale.set()
            await asyncio.sleep(PAUSE)
        return node

    def open_node(self, address: Address) -> Shard:
        node = self._nodes.get(address)
        if node is None:
            endpoint = self.endpoint.at(address)
            node = Shard(
                endpoint, self.timeout, self._events, part_of=slot_of, sharded=self.sharded
            )
            self._nodes[address] = node
        return node

    def lost(self) -> None:
        """Something that was listened to is not heard any more."""
        self.contradict()
        self._tell_lost()

    async def _keep(self) -> None:
        while not is_cancelled():
            self._stale.clear()
            try:
                await self._refresh()
            except CONNECTION_ERRORS as error:
                if is_cancelled():  # the loss came in the same step, in place of CancelledError
                    break
                if str(error) != str(self._error):
                    logger.warning("No map of %s: %s", self.endpoint, error)
                self.contradict(error)
            await asyncio.sleep(MIN_REFRESH)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(MAX_REFRESH):
                    await self._stale.wait()

    async def _refresh(self) -> None:
        new_map = await self._ask_for_map()
        if not new_map.addresses:
            raise LinkLost("The Cluster serves no slot yet")
        self._map = new_map
        for address in new_map.addresses:
            self.open_node(address)
        self._mapped.set()
        nodes = {self._nodes[address] for address in new_map.addresses}
        await self.subscriptions.arrange((new_map.ranges, self.sharded), nodes)
        gone = self._nodes.keys() - new_map.addresses
        await asyncio.gather(*(self._nodes.pop(address).aclose() for address in gone))

    async def _ask_for_map(self) -> SlotMap:
        """The answer of the first node that gives one, whichever is known."""
        last: BaseException = LinkLost("No node is known")
        for address in [*self._nodes, *self.endpoint.cluster]:
            connection = self.endpoint.at(address).pool().make_connection()
            try:
                async with asyncio.timeout(PATIENCE * 2):
                    await connection.connect()
                    slots = await ask(connection, "CLUSTER", "SLOTS")
                    self.sharded = await is_sharded(connection)
                return SlotMap(slots, address)
            except CONNECTION_ERRORS as error:
                last = error
            finally:
                if not self._loop.is_closed():
                    await connection.disconnect(nowait=True)
        raise last


class ClusterSubscriptions:
    """The topics that one loop listens to in a Cluster; for the methods see ``Subscriber``."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._placed: dict[str, Shard] = {}
        self._unplaced: dict[str, float] = {}  # wanted, and since when they may not be heard
        self._arrangement: object = None

    @property
    def down(self) -> bool:
        return self._cluster.down

    def want(self, topic: str, since: float | None = None) -> None:
        self._unplaced.setdefault(topic, time.monotonic() if since is None else since)
        self._cluster.contradict()
        self._cluster.start()

    def wants(self, topic: str) -> bool:
        return topic in self._placed or topic in self._unplaced

    def confirmed(self, topic: str) -> bool:
        node = self._placed.get(topic)
        return node is not None and node.subscriber.confirmed(topic)

    async def add(self, topic: str) -> bool:
        cluster = self._cluster
        cluster.start()
        if self.confirmed(topic):
            return False
        try:
            async with asyncio.timeout(cluster.timeout):
                while True:
                    node = await cluster.node(topic)
                    since = self._place(topic, node)
                    try:
                        async with asyncio.timeout(PATIENCE):
                            await node.subscriber.add(topic, since)
                        return True
                    except (TimeoutError, ChannelLayerUnavailable) as error:
                        cluster.contradict(error)
                        await asyncio.sleep(PAUSE)
        except TimeoutError:
            raise cluster.unavailable() from None

    def discard(self, topic: str) -> None:
        self._unplaced.pop(topic, None)
        node = self._placed.pop(topic, None)
        if node is not None:
            node.subscriber.discard(topic)

    def on_ended(self, topic: str) -> None:
        """The server ended the subscription: its slot has moved."""
        if topic in self._placed:
            self._unplaced.setdefault(topic, time.monotonic())
        self._cluster.lost()

    async def arrange(self, arrangement: object, nodes: set[Shard]) -> None:
        """Give each topic its place by a map, which has these nodes; a batch at a time.

        What is placed already is looked at only if the arrangement is another one than the last.
        """
        if any(node.subscriber.down for node in nodes):
            self._cluster.contradict()  # another one will take over, if it does not come back
        if arrangement != self._arrangement:
            await self._look_for_moved(nodes)
            self._arrangement = arrangement
        for number, topic in enumerate(list(self._unplaced), start=1):
            if number % BATCH == 0:
                await asyncio.sleep(0)
            node = self._cluster.node_now(topic)
            if node is None:
                self._cluster.contradict()
            elif topic in self._unplaced:
                node.subscriber.want(topic, self._place(topic, node))

    async def _look_for_moved(self, nodes: set[Shard]) -> None:
        for number, (topic, node) in enumerate(list(self._placed.items()), start=1):
            if number % BATCH == 0:
                await asyncio.sleep(0)
            if self._placed.get(topic) is node and not self._stays(topic, node, nodes):
                self._unplaced.setdefault(topic, node.subscriber.deaf_since)

    def _stays(self, topic: str, node: Shard, nodes: set[Shard]) -> bool:
        # Unsharded notifications reach every node, so only a node that goes away is left.
        return self._cluster.node_now(topic) is node if self._cluster.sharded else node in nodes

    def _place(self, topic: str, node: Shard) -> float | None:
        """Returns since when it may not be heard, if that is not for the node to say."""
        since = self._unplaced.pop(topic, None)
        former = self._placed.get(topic)
        if former is not None and former is not node:
            since = since or former.subscriber.deaf_since
            former.subscriber.discard(topic)
        self._placed[topic] = node
        return since


def make_topology(
    endpoints: list[Endpoint], timeout: float, events: Events, *, keyed: bool
) -> Topology:
    """A Cluster if the endpoint is one, else the shards; a Cluster is not sharded once more."""
    if any(endpoint.cluster for endpoint in endpoints):
        if len(endpoints) > 1:
            raise ValueError("A Redis Cluster must be the only entry of hosts")
        return Cluster(endpoints[0], timeout, events, keyed=keyed)
    return Shards(endpoints, timeout, events)
