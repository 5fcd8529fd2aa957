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

from ...exceptions import ChannelLayerUnavailable
from ...utils import cancel_and_wait, is_cancelled
from .cluster_commands import PATIENCE, PAUSE, ClusterCommands
from .endpoints import Endpoint
from .link import CONNECTION_ERRORS, LinkLost
from .slots import SlotMap, ask, is_sharded
from .topology import Commands, Events, Route, Shard, Shards, Topology
from .type_defs import Address
from .utils import consistent_hash

logger = logging.getLogger(__name__)

MIN_REFRESH = 0.2  # seconds
MAX_REFRESH = 15.0


class Cluster:
    """The topology of one Cluster; also the subscriptions of all its topics.

    ``keyed`` says that topics are keys too, and so have to be where their slots are.
    """

    def __init__(self, endpoint: Endpoint, timeout: float, events: Events, *, keyed: bool) -> None:
        self._keyed = keyed
        self._loop = asyncio.get_running_loop()
        self.endpoint = endpoint
        self.timeout = timeout
        self._events = events
        self._map = SlotMap([], endpoint.cluster[0])
        self._nodes: dict[Address, Shard] = {}
        self._placed: dict[str, Shard] = {}
        self._homeless: set[str] = set()  # wanted topics without a confirmed place
        self.sharded = False
        self.waiting = 0  # operations that wait for a node's connection
        self._stale = asyncio.Event()
        self._stale.set()
        self._mapped = asyncio.Event()
        self._error: BaseException | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._moving: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name=f"redis {self.endpoint}")

    async def aclose(self) -> None:
        tasks = [task for task in (self._keeper, *self._moving) if task is not None]
        await cancel_and_wait(tasks)
        self._keeper = None
        await asyncio.gather(*(node.aclose() for node in self._nodes.values()))

    def route(self, topic: str) -> Route:
        return Route(ClusterCommands(self, topic), self)

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

    def unavailable(self) -> ChannelLayerUnavailable:
        return ChannelLayerUnavailable(
            f"{self.endpoint} did not answer within {self.timeout} s; "
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
            async with asyncio.timeout(self.timeout):
                while True:
                    node = await self.node(topic)
                    self._place(topic, node)
                    try:
                        async with asyncio.timeout(PATIENCE):
                            await node.subscriber.add(topic)
                        self._homeless.discard(topic)
                        return True
                    except (TimeoutError, ChannelLayerUnavailable) as error:
                        self.contradict(error)
                        await asyncio.sleep(PAUSE)
        except TimeoutError:
            raise self.unavailable() from self._error

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
            events = Events(self._events.on_message, self._on_open, self._on_lost)
            node = Shard(self.endpoint.at(address), self.timeout, events, sharded=self.sharded)
            self._nodes[address] = node
        return node

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
        remaining = {self._nodes[address] for address in new_map.addresses}
        for topic, node in list(self._placed.items()):
            # Unsharded notifications reach every node, so only a node that goes away is left.
            stays = self.node_now(topic) is node if self.sharded else node in remaining
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


def make_topology(
    endpoints: list[Endpoint], timeout: float, events: Events, *, keyed: bool
) -> Topology:
    """A Cluster if the endpoint is one, else the shards; a Cluster is not sharded once more."""
    if any(endpoint.cluster for endpoint in endpoints):
        if len(endpoints) > 1:
            raise ValueError("A Redis Cluster must be the only entry of hosts")
        return Cluster(endpoints[0], timeout, events, keyed=keyed)
    return Shards(endpoints, timeout, events)
