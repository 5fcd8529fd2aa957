"""Each layer against a model: random sequences of its operations, by one process or by two."""

import asyncio
import uuid
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fast_channels import mailbox as mailbox_module
from fast_channels.layers import groups as groups_module

from ..support.backends import Backend
from ..support.layer_model import Channel, LayerModel
from ..support.properties import Clock, sequences
from ..support.redis_servers import RedisServer

groups = st.sampled_from(["red", "green"])
processes = st.integers(0, 1)
steps = st.integers(0, 3)  # before the next operation

STEP = 0.0003  # seconds


class LayerMachine(RuleBasedStateMachine):
    channels = Bundle("channels")
    closed = Bundle("closed")

    def __init__(self, model: LayerModel, step: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.step = step  # seconds; some of them should be about one round trip to the broker
        self.runner = asyncio.Runner()
        self.run = self.runner.run

    @initialize(target=channels)
    def begin(self) -> Any:
        """Two channels in one group and one in none, so that there is something to do."""
        opened = [self.run(self.model.new_channel(process)) for process in (0, 1, 0)]
        for channel in opened[:2]:
            self.run(self.model.group_add("red", channel))
        return multiple(*opened)

    @precondition(lambda self: len(self.model.open) < 6)
    @rule(target=channels, process=processes)
    def new_channel(self, process: int) -> Channel:
        return self.run(self.model.new_channel(process))

    @precondition(lambda self: len(self.model.open) > 2)
    @rule(target=closed, channel=consumes(channels))
    def close_channel(self, channel: Channel) -> Channel:
        self.run(self.model.close_channel(channel))
        return channel

    @rule(channel=channels, group=groups)
    def group_add(self, channel: Channel, group: str) -> None:
        self.run(self.model.group_add(group, channel))

    @rule(channel=channels, group=groups, process=processes)
    def group_discard(self, channel: Channel, group: str, process: int) -> None:
        self.run(self.model.group_discard(group, channel, process))

    @rule(channel=channels, group=groups, process=processes)
    def leave_and_come_back(self, channel: Channel, group: str, process: int) -> None:
        self.run(self.model.group_discard(group, channel, channel.process))
        self.run(self.model.group_add(group, channel))
        self.run(self.model.group_send(group, process))

    @rule(channel=channels, process=processes)
    def send(self, channel: Channel, process: int) -> None:
        self.run(self.model.send(channel, process))

    @rule(channel=closed, process=processes)
    def send_to_closed(self, channel: Channel, process: int) -> None:
        """Nobody receives it, and nobody is told."""
        self.run(self.model.layer(process).send(channel.name, self.model.message()))

    @rule(group=groups, process=processes, count=st.integers(1, 3))
    def group_send(self, group: str, process: int, count: int) -> None:
        for _ in range(count):
            self.run(self.model.group_send(group, process))

    @rule(channel=channels, steps=steps)
    def receive(self, channel: Channel, steps: int) -> None:
        self.start_receiver(channel, channel.process, steps)

    @precondition(lambda self: self.model.receivers)
    @rule(data=st.data(), process=processes, steps=st.integers(0, 8))
    def send_and_cancel(self, data: Any, process: int, steps: int) -> None:
        """A receiver is cancelled about when a message comes that may be for it."""
        receiver = data.draw(st.sampled_from(self.model.receivers))

        async def race() -> None:
            sending = asyncio.create_task(self.model.send(receiver.channel, process))
            await self.turn(steps)
            await self.model.cancel([receiver])
            await sending

        self.run(race())

    @precondition(lambda self: self.model.sent % 8 == 7)  # seldom: it empties all
    @rule()
    def expire(self) -> None:
        self.run(self.model.expire())

    @invariant()
    def members_agree(self) -> None:
        self.model.compare_members()

    def start_receiver(self, channel: Channel, process: int, steps: int) -> None:
        async def start() -> None:
            self.model.receive(channel, process)
            await self.turn(steps)

        self.run(start())

    async def turn(self, steps: int) -> None:
        for _ in range(steps):
            await asyncio.sleep(self.step)

    def teardown(self) -> None:
        try:
            self.run(self.model.finish())
        finally:
            self.run(self.model.aclose())
            self.runner.close()


class WorkLayerMachine(LayerMachine):
    """With named channels, of which each message has one receiver, in either process."""

    @rule(data=st.data(), process=processes)
    def send_to_queue(self, data: Any, process: int) -> None:
        self.run(self.model.send(data.draw(st.sampled_from(self.model.queues)), process))

    @rule(data=st.data(), process=processes, steps=steps)
    def receive_from_queue(self, data: Any, process: int, steps: int) -> None:
        self.start_receiver(data.draw(st.sampled_from(self.model.queues)), process, steps)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the mailboxes."""
    clock = Clock()
    monkeypatch.setattr(mailbox_module, "time", clock)
    monkeypatch.setattr(groups_module, "time", clock)
    return clock


def test_memory(clock: Clock) -> None:
    """Each message once and in order; what is over the capacity is refused, or counted."""

    def machine() -> LayerMachine:
        layer = Backend("memory").make(capacity=2)
        return WorkLayerMachine(LayerModel([layer], ["jobs", "mails"], clock))

    run_state_machine_as_test(machine, settings=sequences(40, 50))


@pytest.mark.parametrize("name", ["queue-standalone", "pubsub-standalone"])
def test_redis(name: str, redis_server: RedisServer, clock: Clock) -> None:
    """Between two processes: each message once and in order."""

    def machine() -> LayerMachine:
        backend = Backend(name, redis_server.url, prefix=f"test-{uuid.uuid4().hex[:8]}")
        layers = [backend.make(capacity=1000) for _ in range(2)]
        if backend.is_queue:
            return WorkLayerMachine(LayerModel(layers, ["jobs", "mails"], clock), step=STEP)
        return LayerMachine(LayerModel(layers, [], clock), step=STEP)

    run_state_machine_as_test(machine, settings=sequences(25, 40, shrink=False))
