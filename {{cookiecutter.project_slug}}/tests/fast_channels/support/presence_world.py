"""Several processes with presence over one store, in virtual time, and all that may go wrong with them.

What a watcher is told is checked in the step in which it is told; what all of it comes to, in `settle`.
"""

import asyncio
import contextlib
import copy
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fast_channels.exceptions import ChannelLayerUnavailable, ChannelNotOwned
from fast_channels.layers.groups import LocalGroups
from fast_channels.mailbox import Message
from fast_channels.presence.lease import Settings
from fast_channels.presence.memory_rosters import MemoryRosters
from fast_channels.presence.process import Process
from fast_channels.presence.rosters import (
    ENDING,
    Hold,
    Lease,
    Listener,
    Notice,
    Page,
    State,
    Written,
)

from .virtual_time import VirtualLoop

GRACE, LEASE, TIMEOUT = 5.0, 30.0, 5.0
SETTINGS = Settings(GRACE, LEASE, max_members=1000, max_info=4096, timeout=TIMEOUT)
LONG = 3.5 * LEASE  # in which all must be told what is so, whatever happened before
VERY_LONG = 24 * LEASE  # after a part of the store came back with an older state


class Link:
    """One process's way to the store. Each command takes a while there and a while back.

    `loses`: the next commands are executed, but not answered. `delays`: they are given up by the process,
    and executed up to 90 s later. `down`: nothing reaches the store. `paused`: the process stands still.
    """

    def __init__(self, store: MemoryRosters) -> None:
        self.store = store
        self.loses = self.delays = 0
        self.down = self.deaf = False
        self.running = asyncio.Event()
        self.running.set()
        self.looks: list[Callable[[], None]] = []
        self.listeners: dict[tuple[str, Listener], Listener] = {}
        self.late: set[asyncio.Task[Any]] = set()

    async def command(self, work: Callable[[], Awaitable[Any]]) -> Any:
        await self.running.wait()
        await asyncio.sleep(random.uniform(0, 0.05))
        if self.down:
            await asyncio.sleep(random.choice([0.1, TIMEOUT]))
            raise ChannelLayerUnavailable("down")
        if self.delays:
            self.delays -= 1
            late = random.uniform(0.1, random.choice([1, 20, 90]))
            task = asyncio.create_task(later(late, work))
            self.late.add(task)
            raise ChannelLayerUnavailable("executed later")
        result = await work()
        await asyncio.sleep(random.uniform(0, 0.05))
        await self.running.wait()
        if self.loses:
            self.loses -= 1
            raise ChannelLayerUnavailable("the answer was lost")
        return result

    async def renew(
        self, process: str, deadline: int | None, *, lease: float, may_sweep: bool
    ) -> Lease | None:
        renew = partial(self.store.renew, process, deadline, lease=lease, may_sweep=may_sweep)
        answer: Lease | None = await self.command(renew)
        return answer

    async def resign(self, process: str, *, within: float) -> None:
        await self.command(partial(self.store.resign, process, within=within))

    async def write(
        self,
        group: str,
        process: str,
        number: int,
        holds: Mapping[str, Hold],
        *,
        limit: int,
        after: int = 0,
    ) -> Written:
        write = partial(
            self.store.write, group, process, number, dict(holds), limit=limit, after=after
        )
        answer: Written = await self.command(write)
        return answer

    async def state(self, group: str, process: str, *, watch: bool) -> State:
        answer: State = await self.command(partial(self.store.state, group, process, watch=watch))
        return answer

    async def page(self, group: str, after: str, count: int, *, of: str = "") -> Page:
        # Small pages, so that there are several.
        answer: Page = await self.command(
            partial(self.store.page, group, after, min(count, 2), of=of)
        )
        return answer

    async def listen(self, group: str, listener: Listener) -> None:
        due = 0.0
        self.ignore(group, listener)  # that of an attempt whose answer was lost

        def hear(notice: Notice) -> None:
            """A while later, in their order."""
            nonlocal due
            loop = asyncio.get_running_loop()
            due = max(due, loop.time() + random.choice([0, 0, 0.01, 0.3]))
            if not self.deaf:
                loop.call_at(due, listener, notice)

        self.listeners[group, listener] = hear
        await self.command(partial(self.store.listen, group, hear))

    def ignore(self, group: str, listener: Listener) -> None:
        if (hear := self.listeners.pop((group, listener), None)) is not None:
            self.store.ignore(group, hear)

    def when_doubtful(self, look: Callable[[], None]) -> Callable[[], None]:
        self.looks.append(look)
        return partial(self.looks.remove, look)

    def seal(self, group: str, key: str, info: Message, most: int) -> bytes:
        return self.store.seal(group, key, info, most)

    def unseal(self, group: str, key: str, sealed: bytes) -> Message:
        return self.store.unseal(group, key, sealed)

    def doubt(self) -> None:
        for look in self.looks:
            look()


async def later(delay: float, work: Callable[[], Awaitable[Any]]) -> None:
    await asyncio.sleep(delay)
    await work()


@dataclass(eq=False)
class Node:
    """A process, its channels, and what its watchers know. `troubled`: others may take it for dead."""

    name: str
    link: Link
    local: LocalGroups
    process: Process
    connections: dict[str, tuple[str, str, float]] = field(default_factory=dict)
    views: dict[str, tuple[str, dict[str, int]]] = field(default_factory=dict)  # of watchers
    numbers: int = 0
    troubled: bool = False
    paused: bool = False

    def new_channel(self) -> str:
        self.numbers += 1
        channel = f"{self.name}!{self.numbers}"
        self.local.mailbox_of(channel)
        return channel


class World:
    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.store = MemoryRosters(self.loop.time)
        self.nodes: list[Node] = []
        self.links: list[Link] = []  # also of processes that have ended
        self.started = 0
        self.older: dict[str, Any] | None = None
        self.restored = False
        self.server_troubled_at = -1.0
        self.tasks: set[asyncio.Task[Any]] = set()

    def run(self, work: Awaitable[Any]) -> Any:
        async def and_hear() -> Any:
            result = await work
            self.hear()
            return result

        return self.loop.run_until_complete(and_hear())

    # Processes

    async def start(self) -> None:
        self.started += 1
        name = f"process-{self.started}"
        link = Link(self.store)
        self.links.append(link)
        local = LocalGroups(lambda channel: 100_000, expiry=None)
        process = Process(name, link, local, SETTINGS)
        self.nodes.append(Node(name, link, local, process))

    async def kill(self, node: Node) -> None:
        """Nothing of it goes on, wherever it is; what it has sent may still arrive."""
        self.nodes.remove(node)
        process = node.process
        process._closed = True
        tasks = process.tasks
        for task in tasks:
            task.cancel()
        for group, listener in list(node.link.listeners):
            node.link.ignore(group, listener)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def stop(self, node: Node) -> None:
        """In order."""
        self.nodes.remove(node)
        node.link.running.set()
        await node.process.aclose()

    # Connections

    async def connect(self, node: Node, group: str, key: str, info: dict[str, Any]) -> None:
        channel = node.new_channel()
        node.connections[channel] = (group, key, self.loop.time())
        await self.soon(node.process.room(group).present(key, info, channel))

    async def disconnect(self, node: Node, number: int) -> None:
        channels = list(node.connections)
        self.close_channel(node, channels[number % len(channels)])

    def close_channel(self, node: Node, channel: str) -> None:
        node.connections.pop(channel, None)
        node.views.pop(channel, None)
        node.local.close(channel)

    async def watch(self, node: Node, group: str) -> None:
        await self.soon(self.take_list(node, group, node.new_channel()))

    async def watch_again(self, node: Node, number: int) -> None:
        """What was told and not read yet is older than the new list."""
        channel, (group, _) = list(node.views.items())[number % len(node.views)]
        await self.soon(self.take_list(node, group, channel))

    async def take_list(self, node: Node, group: str, channel: str) -> None:
        try:
            members = await node.process.room(group).watch(channel)
        except (ChannelLayerUnavailable, ChannelNotOwned):
            return
        node.views[channel] = (group, {one.key: one.connections for one in members})

    async def enter(self, node: Node, group: str, key: str) -> None:
        """Somebody comes and watches by the same channel, and stands in the list, whatever has failed."""
        channel = node.new_channel()
        node.connections[channel] = (group, key, self.loop.time())

        async def enter() -> None:
            with contextlib.suppress(ChannelNotOwned):  # left again, or the process has ended
                await node.process.room(group).present(key, {}, channel)
            await self.take_list(node, group, channel)
            if channel in node.views:
                assert key in node.views[channel][1], f"{key} does not see itself"

        await self.soon(enter())

    async def unwatch(self, node: Node, number: int) -> None:
        channels = list(node.views)
        self.close_channel(node, channels[number % len(channels)])

    async def soon(self, work: Awaitable[Any]) -> None:
        """Begin it; it may have to wait for what happens next."""
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)
        await asyncio.sleep(random.choice([0, 0.02, 0.2]))

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self.tasks.discard(task)
        if not task.cancelled():
            task.result()

    # The store

    def disturb(self) -> None:
        self.server_troubled_at = self.loop.time()

    async def empty(self, told: bool, registry: bool) -> None:
        """All, or the rosters alone, as when one node of a Cluster is."""
        self.disturb()
        self.store._rosters.clear()
        if registry:
            self.store._leases.clear()
            self.store._born = None
        await self.tell(told)

    async def outage(self, seconds: float) -> None:
        """For all at once: nobody is to be taken for dead for that."""
        cut_off = [node for node in self.nodes if not node.link.down]
        for node in cut_off:
            node.link.down = node.link.deaf = True
        await asyncio.sleep(seconds)
        for node in cut_off:
            node.link.down = node.link.deaf = False
        await asyncio.sleep(random.uniform(0, 1))
        for node in cut_off:
            node.link.doubt()

    async def remember(self) -> None:
        self.older = copy.deepcopy(
            {name: getattr(self.store, name) for name in ("_rosters", "_leases", "_born")}
        )

    async def restore(self, told: bool, registry: bool) -> None:
        """An older state, of all or of the rosters alone."""
        if self.older is None:
            return
        self.disturb()
        self.restored = True
        for name, value in copy.deepcopy(self.older).items():
            if registry or name == "_rosters":
                setattr(self.store, name, value)
        await self.tell(told)

    async def tell(self, told: bool) -> None:
        """Processes notice the lost connections, or do not."""
        for node in self.nodes:
            if told:
                node.link.doubt()

    # What is so

    async def listen_for(self, seconds: float) -> None:
        end = self.loop.time() + seconds
        while self.loop.time() < end:
            await asyncio.sleep(1)
            self.hear()

    def hear(self) -> None:
        """What watchers were told changes what they know, and never says twice what they know already."""
        for node in self.nodes:
            for channel, (group, view) in node.views.items():
                mailbox = node.local.mailboxes[channel]
                while (message := mailbox.take()) is not None:
                    self.hear_one(group, view, message)

    def hear_one(self, group: str, view: dict[str, int], message: dict[str, Any]) -> None:
        kind, key = message["type"].removeprefix("presence."), message["key"]
        assert message["group"] == group
        assert (key in view) == (kind != "joined"), f"{kind} {key}, and known are {view}"
        if kind == "left":
            assert not self.is_surely_there(group, key), f"{key} left, and it is there"
            del view[key]
        else:
            assert message["connections"] > 0
            view[key] = message["connections"]
        assert message["members"] == len(view)

    def is_surely_there(self, group: str, key: str) -> bool:
        """It has a connection in a process that nobody may take for dead."""
        now = self.loop.time()
        return any(
            (group, key) == (its_group, its_key)
            and max(since, self.server_troubled_at) < now - LONG
            and not node.troubled
            for node in self.nodes
            for its_group, its_key, since in node.connections.values()
        )

    def expected(self) -> dict[str, dict[str, int]]:
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for node in self.nodes:
            for group, key, _ in node.connections.values():
                counts[group][key] += 1
        return {group: dict(members) for group, members in counts.items()}

    async def settle(self) -> None:
        """When nothing has gone wrong for long enough, everybody knows what is so."""
        for node in self.nodes:
            node.link.running.set()
            node.link.loses = node.link.delays = 0
            if node.link.down:
                node.link.down = False
            node.link.deaf = node.paused = False
        while any(not one.done() for link in self.links for one in link.late):
            await self.listen_for(1)  # a command of one that is dead may be the last to arrive
        await self.listen_for(VERY_LONG if self.restored else 0)
        for (
            node
        ) in self.nodes:  # those that list members keep a lease, by which they learn who is dead
            for group in ("red", "green"):
                await node.process.members(group, "", 1000)
        await self.listen_for(LONG)
        expected = self.expected()
        for node in self.nodes:
            for group, view in node.views.values():
                assert view == expected.get(group, {}), f"{node.name} in {group}"
            for group in ("red", "green"):
                members = await node.process.members(group, "", 1000)
                assert {one.key: one.connections for one in members} == expected.get(group, {})
            node.troubled = False
        self.restored = False
        self.check_store()

    def check_store(self) -> None:
        """Nothing is left of those that are dead, where somebody looks."""
        if not self.nodes:
            return
        alive = {node.process.id for node in self.nodes}
        for group in ("red", "green"):
            roster = self.store._rosters.get(group)
            if roster is None:
                continue
            parts = {process for entry in roster.entries.values() for process in entry.parts}
            assert parts <= alive
            assert all(
                part.hold.live >= 0 and part.hold.lingering == 0
                for entry in roster.entries.values()
                for part in entry.parts.values()
            )
            assert {one for one, (n, _) in roster.writes.items() if n < ENDING} <= alive

    def close(self) -> None:
        async def end() -> None:
            for node in list(self.nodes):
                await self.kill(node)
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

        self.loop.run_until_complete(end())
        self.loop.close()
