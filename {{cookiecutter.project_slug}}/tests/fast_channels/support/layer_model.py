"""Layers beside a model of lists: each operation is done to both, and what arrives is compared.

A receiver asks the model in the very step in which `receive` returns: a message that is lost,
doubled, or out of order shows there or in `finish`, when all that the model still has is received.
Memberships change when all is delivered that was sent before, so that the model is exact.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from fast_channels.exceptions import ChannelFull
from fast_channels.layers import BaseChannelLayer, InMemoryChannelLayer
from fast_channels.layers.groups import LocalGroups

from .expect import eventually
from .properties import Clock

SETTLED = 30.0  # seconds; only a failing test waits so long


@dataclass(eq=False)
class Channel:
    """A channel, its process, and the numbers of the messages that wait in it."""

    name: str
    process: int
    waiting: list[int] = field(default_factory=list)


class Receiver:
    """A task in `receive`, in the process of `layer`."""

    def __init__(self, channel: Channel, layer: BaseChannelLayer) -> None:
        self.channel, self.layer = channel, layer
        self.task = asyncio.create_task(self.receive())

    async def receive(self) -> None:
        message = await self.layer.receive(self.channel.name)
        number, waiting = message["number"], self.channel.waiting
        assert number in waiting, f"{number} came to {self.channel}"
        turn = waiting.index(number)
        waiting.remove(number)
        assert turn == 0 or "!" not in self.channel.name, f"{number} came to {self.channel} early"
        assert message == {"type": "test", "number": number, "list": []}
        message["list"].append("what other receivers must not see")


class LayerModel:
    """`layers` are those of one process or two, `queues` the names of the named channels.

    What finds a process-local channel full is refused or dropped in memory; on Redis the capacity
    must be more than ever waits, because the model does not know what is still under way.
    """

    def __init__(self, layers: list[Any], queues: Iterable[str], clock: Clock) -> None:
        self.layers, self.clock = layers, clock
        self.open: list[Channel] = []
        self.queues = [Channel(name, 0) for name in queues]
        self.members: defaultdict[str, set[Channel]] = defaultdict(set)
        self.receivers: list[Receiver] = []
        self.sent = self.dropped = 0

    def layer(self, process: int) -> Any:
        return self.layers[process % len(self.layers)]

    async def new_channel(self, process: int) -> Channel:
        channel = Channel(await self.layer(process).new_channel(), process)
        self.open.append(channel)
        return channel

    async def close_channel(self, channel: Channel) -> None:
        await self.cancel(one for one in self.receivers if one.channel is channel)
        await self.layer(channel.process).close_channel(channel.name)
        self.open.remove(channel)
        for members in self.members.values():
            members.discard(channel)

    async def group_add(self, group: str, channel: Channel) -> None:
        await self.settle()
        await self.layer(channel.process).group_add(group, channel.name)
        self.members[group].add(channel)

    async def group_discard(self, group: str, channel: Channel, process: int) -> None:
        """By any process; a message that it sends to the channel next says when it is done."""
        await self.settle()
        await self.layer(process).group_discard(group, channel.name)
        self.members[group].discard(channel)
        await self.send(channel, process)
        await self.settle()

    async def send(self, channel: Channel, process: int) -> None:
        message = self.message()
        if self.has_room(channel):
            channel.waiting.append(self.sent)
            await self.layer(process).send(channel.name, message)
        else:
            with pytest.raises(ChannelFull):
                await self.layer(process).send(channel.name, message)

    async def group_send(self, group: str, process: int) -> None:
        message = self.message()
        for channel in self.members[group]:
            if self.has_room(channel):
                channel.waiting.append(self.sent)
            else:
                self.dropped += 1
        await self.layer(process).group_send(group, message)

    def receive(self, channel: Channel, process: int) -> None:
        self.receivers.append(Receiver(channel, self.layer(process)))

    async def cancel(self, receivers: Iterable[Receiver]) -> None:
        for receiver in list(receivers):
            receiver.task.cancel()
            await asyncio.wait([receiver.task])
            self.receivers.remove(receiver)
            if not receiver.task.cancelled():
                receiver.task.result()

    async def expire(self) -> None:
        """Let all expire that waits in a process; what waits in Redis goes by Redis's own clock."""
        await self.settle()
        self.clock.now += self.layers[0].expiry + 1
        for channel in self.open if len(self.layers) > 1 else self.open + self.queues:
            assert self.layer(channel.process).mailbox(channel.name).take() is None
            channel.waiting.clear()

    async def settle(self) -> None:
        """Wait until all that was sent has come, and been received where somebody receives."""
        for _ in range(5):
            await asyncio.sleep(0)  # enough in memory
        for channel in [*self.open, *self.queues]:
            await eventually(
                lambda at=channel: self.is_settled(at), f"{channel} to settle", within=SETTLED
            )

    def is_settled(self, channel: Channel) -> bool:
        for receiver in [one for one in self.receivers if one.task.done()]:
            self.receivers.remove(receiver)
            receiver.task.result()
        if channel.waiting and any(one.channel is channel for one in self.receivers):
            return False
        if channel in self.queues:
            return True
        return len(self.layer(channel.process).mailbox(channel.name)) == len(channel.waiting)

    def compare_members(self) -> None:
        for layer in self.layers:
            expected = {
                group: {one.name for one in members if self.layer(one.process) is layer}
                for group, members in self.members.items()
            }
            assert {group: set(names) for group, names in local_groups(layer).members.items()} == {
                group: names for group, names in expected.items() if names
            }

    async def finish(self) -> None:
        """All that waits is received, and behind it what is sent now: nothing else was there."""
        for channel in [*self.open, *self.queues]:
            await self.settle()
            for _ in range(len(channel.waiting) + 1):
                self.receive(channel, channel.process)
            await self.settle()
            await self.send(channel, channel.process)
            await self.settle()
            assert channel.waiting == []
        for channel in list(self.open):
            await self.close_channel(channel)
        assert sum(layer.dropped for layer in self.layers) == self.dropped
        for layer in self.layers:
            assert local_groups(layer).members == {}
            assert [name for name in local_groups(layer).mailboxes if "!" in name] == []

    async def aclose(self) -> None:
        """Leaves no task."""
        for receiver in self.receivers:
            receiver.task.cancel()
        await asyncio.gather(*(one.task for one in self.receivers), return_exceptions=True)
        for layer in self.layers:
            await layer.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    def has_room(self, channel: Channel) -> bool:
        return len(channel.waiting) < self.layers[0].capacity

    def message(self) -> dict[str, Any]:
        self.sent += 1
        return {"type": "test", "number": self.sent, "list": []}


def local_groups(layer: Any) -> LocalGroups:
    """What the layer's process holds: channels, groups, mailboxes."""
    if isinstance(layer, InMemoryChannelLayer):
        return layer.local
    found = [each.local for each in layer._loop_layers.values()]
    return found[0] if found else LocalGroups(lambda channel: 1, None)
