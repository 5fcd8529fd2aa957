"""Presence of several processes against what is so: kills, pauses, outages and lost states at any step.

No ghost, no zombie after its lease, no double join, no lost leave, no wrong number of connections or
members; and each that comes stands in the list that it gets.
"""

import asyncio
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ..support.presence_world import LEASE, Node, World
from ..support.properties import sequences

numbers = st.integers(0, 5)
groups = st.sampled_from(["red", "green"])
keys = st.sampled_from(["ann", "bob", "cem", "dia", "eva"])
infos = st.sampled_from([{}, {"n": 1}, {"n": 2}])

MOST = 4  # processes


class PresenceMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    def node(self, number: int) -> Node:
        return self.world.nodes[number % len(self.world.nodes)]

    @initialize()
    def begin(self) -> None:
        for _ in range(2):
            self.world.run(self.world.start())
            self.world.run(self.world.watch(self.world.nodes[-1], "red"))

    # What users do

    @precondition(lambda self: self.world.nodes)
    @rule(number=numbers, group=groups, key=keys, info=infos)
    def connect(self, number: int, group: str, key: str, info: dict[str, Any]) -> None:
        self.world.run(self.world.connect(self.node(number), group, key, info))

    @precondition(lambda self: any(node.connections for node in self.world.nodes))
    @rule(number=numbers, which=numbers)
    def disconnect(self, number: int, which: int) -> None:
        nodes = [node for node in self.world.nodes if node.connections]
        self.world.run(self.world.disconnect(nodes[number % len(nodes)], which))

    @precondition(lambda self: any(node.connections for node in self.world.nodes))
    @rule(number=numbers, which=numbers, to=numbers)
    def reconnect(self, number: int, which: int, to: int) -> None:
        nodes = [node for node in self.world.nodes if node.connections]
        node = nodes[number % len(nodes)]
        channels = list(node.connections)
        group, key, _ = node.connections[channels[which % len(channels)]]
        self.world.run(self.world.disconnect(node, which))
        self.world.run(self.world.connect(self.node(to), group, key, {}))

    @precondition(lambda self: self.world.nodes)
    @rule(number=numbers, group=groups)
    def watch(self, number: int, group: str) -> None:
        self.world.run(self.world.watch(self.node(number), group))

    @precondition(lambda self: self.world.nodes)
    @rule(number=numbers, group=groups, key=keys)
    def enter(self, number: int, group: str, key: str) -> None:
        self.world.run(self.world.enter(self.node(number), group, key))

    @precondition(lambda self: any(node.views for node in self.world.nodes))
    @rule(number=numbers, which=numbers)
    def watch_again(self, number: int, which: int) -> None:
        nodes = [node for node in self.world.nodes if node.views]
        self.world.run(self.world.watch_again(nodes[number % len(nodes)], which))

    @precondition(lambda self: any(node.views for node in self.world.nodes))
    @rule(number=numbers, which=numbers)
    def unwatch(self, number: int, which: int) -> None:
        nodes = [node for node in self.world.nodes if node.views]
        self.world.run(self.world.unwatch(nodes[number % len(nodes)], which))

    @rule(seconds=st.sampled_from([0.01, 0.1, 1.0, 6.0, LEASE / 2, LEASE * 1.2]))
    def wait(self, seconds: float) -> None:
        self.world.run(asyncio.sleep(seconds))

    # What processes do

    @precondition(lambda self: len(self.world.nodes) < MOST)
    @rule()
    def start(self) -> None:
        self.world.run(self.world.start())

    @precondition(lambda self: len(self.world.nodes) > 1)
    @rule(number=numbers)
    def kill(self, number: int) -> None:
        self.world.run(self.world.kill(self.node(number)))

    @precondition(lambda self: len(self.world.nodes) > 1)
    @rule(number=numbers)
    def stop(self, number: int) -> None:
        self.world.run(self.world.stop(self.node(number)))

    @precondition(lambda self: self.world.nodes)
    @rule(number=numbers)
    def pause(self, number: int) -> None:
        node = self.node(number)
        node.paused = node.troubled = True
        node.link.running.clear()

    @precondition(lambda self: any(node.paused for node in self.world.nodes))
    @rule()
    def resume(self) -> None:
        for node in self.world.nodes:
            node.paused = False
            node.link.running.set()

    # What the network does

    @precondition(lambda self: self.world.nodes)
    @rule(number=numbers, count=st.integers(1, 3))
    def lose_answers(self, number: int, count: int) -> None:
        self.node(number).link.loses += count

    @precondition(lambda self: self.world.nodes)
    @rule(number=numbers, count=st.integers(1, 3))
    def delay_commands(self, number: int, count: int) -> None:
        node = self.node(number)
        node.troubled = True
        node.link.delays += count

    @precondition(lambda self: self.world.nodes)
    @rule(number=numbers)
    def cut_off(self, number: int) -> None:
        node = self.node(number)
        node.troubled = node.link.down = node.link.deaf = True

    @rule()
    def mend(self) -> None:
        for node in self.world.nodes:
            if node.link.down:
                node.link.down = node.link.deaf = False
                self.world.loop.call_soon(node.link.doubt)
        self.world.run(asyncio.sleep(0.1))

    @precondition(lambda self: self.world.nodes)
    @rule(number=numbers)
    def lose_notices(self, number: int) -> None:
        """Until all settles, and the process is not told so."""
        self.node(number).link.deaf = True

    # What the server does

    @rule(told=st.booleans(), registry=st.booleans())
    def empty(self, told: bool, registry: bool) -> None:
        self.world.run(self.world.empty(told, registry))

    @rule(seconds=st.sampled_from([1.0, LEASE, LEASE * 3]))
    def outage(self, seconds: float) -> None:
        self.world.run(self.world.outage(seconds))

    @rule()
    def remember(self) -> None:
        self.world.run(self.world.remember())

    @precondition(lambda self: self.world.older is not None)
    @rule(told=st.booleans(), registry=st.booleans())
    def restore(self, told: bool, registry: bool) -> None:
        self.world.run(self.world.restore(told, registry))

    @rule()
    def settle(self) -> None:
        self.world.run(self.world.settle())

    def teardown(self) -> None:
        try:
            self.world.run(self.world.settle())
        finally:
            self.world.close()


def test_presence_of_several_processes() -> None:
    """Whatever happened, watchers and lists agree with who is there, and every change was told once."""
    run_state_machine_as_test(PresenceMachine, settings=sequences(100, 40))


@pytest.mark.parametrize("watches", [True, False])
def test_an_older_state_of_a_group_that_was_left_long_ago(watches: bool) -> None:
    """Says of a process that lives what it has forgotten: that is taken out as soon as it looks there."""
    world = World()
    try:
        world.run(world.start())
        (node,) = world.nodes
        world.run(world.connect(node, "red", "ann", {}))
        world.run(world.watch(node, "green"))
        world.run(asyncio.sleep(1))
        world.run(world.remember())
        world.run(world.disconnect(node, 0))
        world.run(asyncio.sleep(10 * LEASE))
        assert list(node.process.rooms) == ["green"]
        world.run(world.restore(told=True, registry=False))
        if watches:
            world.run(world.watch(node, "red"))
        world.run(node.process.members("red", "", 10))
        world.run(asyncio.sleep(LEASE))
        assert world.run(node.process.members("red", "", 10)) == []
    finally:
        world.close()


def test_a_process_that_stood_still_while_it_asked_for_its_lease() -> None:
    """Has not held it since it asked: it takes nobody for dead who was cut off in the meantime."""
    world = World()
    try:
        for _ in range(2):
            world.run(world.start())
        asks, holds = world.nodes
        world.run(world.connect(holds, "red", "ann", {}))
        world.run(asyncio.sleep(2 * LEASE))
        watching = world.loop.create_task(world.take_list(asks, "red", asks.new_channel()))
        asks.link.running.clear()  # its first question for a lease is on its way
        world.run(asyncio.sleep(1))
        world.run(world.outage(3 * LEASE))
        asks.link.running.set()
        world.run(watching)
        world.run(asks.process._lease.renew())
        assert holds.process.id in world.store._leases
    finally:
        world.close()
