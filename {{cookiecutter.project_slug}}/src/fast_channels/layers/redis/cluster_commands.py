"""Commands of one topic in a Redis Cluster, executed where its slot is at the moment."""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from redis.exceptions import (
    AskError,
    ClusterError,
    MovedError,
    NoScriptError,
    ResponseError,
    TryAgainError,
)

from ...exceptions import ChannelLayerUnavailable
from .link import Command, Link, LinkLost, Pending, Reply
from .persistent import NotConnected
from .script import with_source
from .slots import slot_of
from .topology import PUBLISH
from .type_defs import Address

if TYPE_CHECKING:
    from .cluster import Cluster

PATIENCE = 0.5  # seconds that an operation waits for one node before it looks at the map again
CROWD = 200  # operations that wait for a node together double it: each look costs some 0.1 ms
PAUSE = 0.05  # seconds before it looks
SPUBLISH = "SPUBLISH"


class ClusterCommands:
    """For the methods see ``PersistentLink``, which has them for a single server."""

    def __init__(self, cluster: "Cluster", topic: str) -> None:
        self._cluster = cluster
        self._topic = topic

    @property
    def link(self) -> Link | None:
        node = self._cluster.node_now(self._topic)
        return None if node is None else node.commands.link

    @property
    def part(self) -> object:
        return slot_of(self._topic)

    @property
    def server(self) -> object:
        return self._cluster.node_now(self._topic) or self._cluster

    @property
    def by_bus(self) -> bool:
        return not self._cluster.sharded  # also while that is not known: it is the safe assumption

    def enlist(self, command: Command, reply: Pending, deadline: float) -> Link | None:
        node = self._cluster.node_now(self._topic)
        if node is None:
            return None
        return node.commands.enlist(self._adapted(command), reply, deadline)

    def execute(
        self, *command: Any, repeatable: bool = True, replicated: bool = False
    ) -> Awaitable[Reply]:
        deadline = asyncio.get_running_loop().time() + self._cluster.timeout
        return self.complete(command, deadline, repeatable=repeatable, replicated=replicated)

    async def complete(
        self,
        command: Command,
        deadline: float,
        *,
        repeatable: bool = True,
        replicated: bool = False,
        after: Exception | None = None,
    ) -> Reply:
        cluster = self._cluster
        cluster.start()
        again = False
        try:
            while True:
                try:
                    ended, after = after, None
                    return await self._attempt(command, deadline, replicated, again, ended)
                except LinkLost:
                    if not repeatable:
                        raise
                    cluster.contradict()
                except NoScriptError:
                    command = with_source(command)
                    again = True
                    continue
                except (NotConnected, MovedError, ClusterError, TryAgainError) as error:
                    cluster.contradict(error)
                again = True
                async with asyncio.timeout_at(deadline):
                    await asyncio.sleep(PAUSE)
        except ResponseError as error:
            raise ChannelLayerUnavailable(
                f"{cluster.endpoint} refused {command[0]}: {error}"
            ) from error
        except LinkLost as error:
            cluster.contradict()
            raise ChannelLayerUnavailable(
                f"The connection to {cluster.endpoint} was lost before {command[0]} was confirmed"
            ) from error
        except TimeoutError as error:
            raise cluster.unavailable() from error

    def unavailable(self) -> ChannelLayerUnavailable:
        return self._cluster.unavailable()

    async def turn(self, deadline: float) -> None:
        """See ``PersistentLink.turn``. The map is looked at again while there is no connection."""
        cluster = self._cluster
        cluster.start()
        cluster.waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                link = await self._link_of_node(deadline)
        except TimeoutError:
            raise cluster.unavailable() from None
        finally:
            cluster.waiting -= 1
        await link.turn()

    async def _link_of_node(self, deadline: float) -> Link:
        while True:
            node = await self._cluster.node(self._topic)
            try:
                return await node.commands.connected_by(self._patience(deadline))
            except NotConnected as error:
                self._cluster.contradict(error)
                await asyncio.sleep(PAUSE)

    def _patience(self, deadline: float) -> float:
        """Until when to wait for a node; the more wait, the less often each of them looks."""
        patience = PATIENCE * (1 + self._cluster.waiting / CROWD)
        return min(asyncio.get_running_loop().time() + patience, deadline)

    async def _attempt(
        self,
        command: Command,
        deadline: float,
        replicated: bool,
        again: bool,
        ended: Exception | None,
    ) -> Reply:
        """``ended`` is how the attempt ended that was made already."""
        node = self._cluster.node_now(self._topic)
        if node is None:
            async with asyncio.timeout_at(deadline):
                node = await self._cluster.node(self._topic)
        command = self._adapted(command)
        connected_by = self._patience(deadline)
        try:
            if ended is not None:
                raise ended
            return await node.commands.attempt(
                command, deadline, connected_by=connected_by, replicated=replicated, again=again
            )
        except MovedError:  # an AskError by inheritance
            raise
        except AskError as error:
            async with asyncio.timeout_at(deadline):
                return await self._ask((error.host, error.port), *command)

    def _adapted(self, command: Command) -> Command:
        if self._cluster.sharded:
            return tuple(SPUBLISH if part is PUBLISH else part for part in command)
        return command

    async def _ask(self, address: Address, *command: Any) -> Reply:
        """The slot is on its way to that node: only a command behind ASKING is served there."""
        link = await self._cluster.open_node(address).commands.connected()
        link.post("ASKING")
        return await link.call(*command)
