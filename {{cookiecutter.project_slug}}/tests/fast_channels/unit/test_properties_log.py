"""A loop that follows logs, under any sequence of losses: each message once, in order, to who stays.

The server is a model of one: logs, a clock, and a subscriber's wire on which notifications wait.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from typing import Any, cast

import pytest
from hypothesis import given, strategies as st

from fast_channels.layers.history import History
from fast_channels.layers.redis import group_log
from fast_channels.layers.redis.format import Messages, encode, encode_message
from fast_channels.layers.redis.group_log import GroupLog, id_at
from fast_channels.layers.redis.loop_layer import Uids
from fast_channels.layers.throttled import ThrottledWarning
from fast_channels.mailbox import Mailbox

from ..support.properties import sequences

OVERLAP_MS = 40  # in place of 5 s, so that the clocks of a test get out of its reach
TOPICS = ["a", "b"]
KEPT = History(messages=1000, seconds=60)

OPERATIONS = {
    "publish": 8,  # a message to a topic
    "hear": 4,  # what waits on the wire arrives
    "turn": 6,  # the loop goes on for a moment
    "cut": 2,
    "subscribe": 4,  # again, a topic
    "confirm": 3,  # what was subscribed
    "join": 2,
    "leave": 1,
    "forge": 2,  # a notification that no server sent
    "repeat": 1,  # a sender that did not see its confirmation
}
DELETIONS = {"delete": 1, "trim": 1}  # of a log, and of all but its end
FAILOVERS = {"fail over": 1}  # to a server that lacks the last entries, and has another clock


class Server:
    """Answers what a log asks, a few turns of the loop later."""

    def __init__(self) -> None:
        self.logs: dict[str, list[tuple[int, int, bytes]]] = {topic: [] for topic in TOPICS}
        self.offset = 0
        self.subscribed: set[str] = set()
        self.wire: deque[tuple[str, bytes]] = deque()
        self.turns = 0
        self.server = self

    def now(self) -> int:
        return int(time.monotonic() * 1000) + 1_700_000_000_000 + self.offset

    def append(self, topic: str, envelope: bytes) -> None:
        log = self.logs[topic]
        last = log[-1][:2] if log else (0, 0)
        new = (self.now(), 0)
        if new <= last:
            new = (last[0], last[1] + 1)
        log.append((*new, envelope))
        self.notify(topic, written(new), envelope)

    def notify(self, topic: str, entry: bytes, envelope: bytes) -> None:
        if topic in self.subscribed:
            self.wire.append((topic, entry + b" - " + envelope))

    async def execute(self, *command: Any, **_: Any) -> Any:
        self.turns += 1
        for _ in range(self.turns % 4):
            await asyncio.sleep(0)
        reply = self._reply(*command)
        for _ in range(self.turns % 3):
            await asyncio.sleep(0)
        return reply

    def _reply(self, _: str, __: str, number: int, *arguments: Any) -> Any:
        """To the script that asks what was missed."""
        topics, (_, most, _, *questions) = arguments[:number], arguments[number:]
        asked = zip(topics, questions[::2], questions[1::2], strict=True)
        return [self.now(), b"", *(self._missed(most, *one) for one in asked)]

    def _missed(self, most: int, topic: str, last: str, otherwise: str) -> Any:
        log = self.logs[topic]
        newest = written(log[-1][:2] if log else (0, 0))
        if last in ("$", newest.decode()):
            return newest
        stands = last == "0-0" or any(written(entry[:2]) == last.encode() for entry in log)
        start = tuple(map(int, (last if stands else otherwise).split("-")))
        found = [entry for entry in log if entry[:2] >= start]
        page = [[written(entry[:2]), [b"m", entry[2]]] for entry in found[:most]]
        return [newest, len(log), int(len(found) > most), *page]


def written(entry: tuple[int, ...]) -> bytes:
    return b"%d-%d" % entry


class World:
    """One loop that follows logs on the server."""

    def __init__(self) -> None:
        self.server = Server()
        self.undecodable = ThrottledWarning(logging.getLogger("test"), "%d %s")
        self.log = GroupLog(cast(Any, self), lambda topic: KEPT)
        self.uids = Uids()
        self.sent: dict[str, list[int]] = {topic: [] for topic in TOPICS}
        self.envelopes: dict[str, bytes] = {}
        self.heard: dict[str, list[int]] = {}
        self.owed: dict[str, int] = {}  # how much of what was sent no member has to get
        self.boxes = {topic: Mailbox(10_000) for topic in TOPICS}
        for box in self.boxes.values():
            box.wants_events = True
        self.wanted: set[str] = set()
        self.marks: list[tuple[str, Any]] = []
        self.lost_at = time.monotonic()
        self.number = 0

    # What the log asks of its loop layer

    def commands_of(self, topic: str) -> Any:
        return self.server

    @property
    def topology(self) -> Any:
        return self

    def slot_of(self, topic: str) -> int:
        return 0

    def deliver(self, topic: str, messages: Messages, deliver_event: None) -> None:
        if topic in self.heard:
            self.heard[topic] += [int(payload) for _, payload, _ in messages]

    def receivers(self, topic: str, messages: Messages) -> list[Mailbox]:
        return self.members(topic)

    def members(self, topic: str) -> list[Mailbox]:
        return [self.boxes[topic]]

    def on_message(self, topic: bytes, data: bytes) -> None:
        name = topic.decode()
        if name in self.wanted:
            self.log.hear(name, data)

    # Operations

    def publish(self, topic: str) -> None:
        self.number += 1
        envelope = encode(self.uids.make(), [encode_message("", b"%d" % self.number)])
        self.envelopes[topic] = envelope
        self.server.append(topic, envelope)
        self.sent[topic].append(self.number)

    def repeat(self, topic: str) -> None:
        if topic in self.envelopes:
            self.server.append(topic, self.envelopes[topic])

    def hear(self, _: str) -> None:
        while self.server.wire:
            topic, data = self.server.wire.popleft()
            self.on_message(topic.encode(), data)

    async def turn(self, _: str) -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    def cut(self, _: str) -> None:
        self.server.subscribed.clear()
        self.server.wire.clear()
        self.marks.clear()
        self.lost_at = min(self.lost_at, time.monotonic())
        self.log.on_lost()

    def subscribe(self, topic: str) -> None:
        if topic in self.wanted and topic not in self.server.subscribed:
            self.marks.append((topic, self.log.on_subscribing([topic], self.lost_at)))
            self.server.subscribed.add(topic)

    def confirm(self, _: str) -> None:
        for topic, mark in self.marks:
            self.log.on_subscribed([topic], mark)
        self.marks.clear()

    async def join(self, topic: str) -> None:
        if topic in self.wanted:
            return
        self.wanted.add(topic)

        async def subscribed() -> None:
            self.subscribe(topic)
            self.confirm(topic)

        await self.log.listen(topic, subscribed)
        self.heard[topic] = []
        self.owed[topic] = len(self.sent[topic])

    def leave(self, topic: str) -> None:
        self.wanted.discard(topic)
        self.heard.pop(topic, None)
        self.server.subscribed.discard(topic)
        # A subscriber drops what comes before the server confirms that it left.
        self.server.wire = deque(one for one in self.server.wire if one[0] != topic)
        self.marks = [(t, mark) for t, mark in self.marks if t != topic]
        self.log.ignore(topic)

    def forge(self, topic: str) -> None:
        entries = [b"x", b"9-", b"-", b"1-1", b"99999999999999-0", b"9" * 30 + b"-0"]
        envelope = encode(self.uids.make(), [])
        self.server.notify(topic, entries[self.number % len(entries)], envelope)

    # What servers lose

    def delete(self, topic: str) -> None:
        self.server.logs[topic].clear()
        self.server.offset += 1  # in the same millisecond the next entry may get the id of the last

    def trim(self, topic: str) -> None:
        del self.server.logs[topic][:-2]

    def fail_over(self, topic: str) -> None:
        self.cut(topic)
        self.server.offset += 1 - 3 * OVERLAP_MS * (self.number % 3 - 1)
        for log in self.server.logs.values():
            del log[max(len(log) - self.number % 3, 0) :]

    async def settle(self) -> None:
        """All connections hold, until nothing is left to do."""
        async with asyncio.timeout(10):
            while True:
                for topic in TOPICS:
                    self.subscribe(topic)
                self.confirm("")
                self.hear("")
                await asyncio.sleep(0.001)
                positions = self.log._positions.values()
                if not (self.log._lanes or any(p.behind for p in positions)):
                    return

    async def run(self, operations: list[tuple[str, str]]) -> None:
        for name, topic in operations:
            try:
                done = getattr(self, name.replace(" ", "_"))(topic)
                if done is not None:
                    await done
            except ValueError:  # a peer counts it as undecodable
                assert name == "hear"
        while self.server.wire:
            with contextlib.suppress(ValueError):
                self.hear("")
        await self.settle()
        await self.log.aclose()


@pytest.fixture(autouse=True)
def _small_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_log, "OVERLAP", OVERLAP_MS / 1000)
    monkeypatch.setattr(group_log, "AHEAD", id_at(OVERLAP_MS))


def operations(*weights: dict[str, int]) -> st.SearchStrategy[list[tuple[str, str]]]:
    names = [name for some in weights for name, weight in some.items() for _ in range(weight)]
    return st.lists(
        st.tuples(st.sampled_from(names), st.sampled_from(TOPICS)), min_size=5, max_size=60
    )


@given(operations(OPERATIONS))
@sequences(300, 1)
def test_who_stays_gets_everything(sequence: list[tuple[str, str]]) -> None:
    """Whatever is cut when: all that was sent since the joining, each once and in order."""
    world = World()
    asyncio.run(world.run([("join", "a"), *sequence]))
    for topic, heard in world.heard.items():
        assert heard == world.sent[topic][world.owed[topic] :]


@given(operations(OPERATIONS, DELETIONS))
@sequences(300, 1)
def test_what_was_deleted_before_it_was_heard_is_told(sequence: list[tuple[str, str]]) -> None:
    """Of a log of which something was heard before; what is left of it comes once and in order."""
    world = World()
    asyncio.run(world.run([("join", "a"), *sequence]))
    for topic, heard in world.heard.items():
        assert heard == sorted(set(heard))
        missing = set(world.sent[topic][world.owed[topic] :]).difference(heard)
        if heard and any(number > heard[0] for number in missing):
            assert world.boxes[topic].take() == {"type": "layer.reconnected"}


@given(operations(OPERATIONS, DELETIONS, FAILOVERS))
@sequences(300, 1)
def test_nothing_comes_twice_from_a_server_that_lost_something(
    sequence: list[tuple[str, str]],
) -> None:
    """Nor out of order, wherever the clock of the new one is."""
    world = World()
    asyncio.run(world.run([("join", "a"), *sequence]))
    for heard in world.heard.values():
        assert heard == sorted(set(heard))


def test_a_loss_while_a_gap_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer that told the gap proves nothing any more: what comes then is read from the log."""
    monkeypatch.setattr(group_log, "TURN", -1.0)  # it goes on after each step

    async def run() -> None:
        world = World()
        await world.run([("join", "a"), ("publish", "a"), ("hear", "")])
        for name in ("delete", "cut", "subscribe", "confirm"):
            getattr(world, name)("a")
        async with asyncio.timeout(5):
            while not len(world.boxes["a"]):
                await asyncio.sleep(0)
        for name in ("cut", "publish", "subscribe", "confirm"):
            getattr(world, name)("a")
        await world.settle()
        assert world.heard["a"] == [1, 2]

    asyncio.run(run())
