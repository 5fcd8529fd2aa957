"""The topics that a loop listens to, across broken connections, on a real server."""

import asyncio
from collections.abc import AsyncIterator
from itertools import groupby
from typing import Any

import pytest

from fast_channels.exceptions import ChannelLayerUnavailable
from fast_channels.layers.redis.client.cluster import Cluster, SlotMap
from fast_channels.layers.redis.client.hosts import parse_hosts
from fast_channels.layers.redis.client.servers import Events, Servers, Waiting

from ..support.expect import eventually
from ..support.redis_servers import RedisServer


class Listener:
    """A loop that keeps what it hears; with `broken`, its opening fails."""

    def __init__(self, url: str) -> None:
        self.heard: list[bytes] = []
        self.opened: list[set[str]] = []
        self.confirmed: set[str] = set()
        self.lost = 0
        self.broken = False
        self.servers = Servers(
            parse_hosts([url]),
            timeout=2,
            events=Events(
                lambda topic, data: self.heard.append(data),
                on_lost=self._lost,
                on_subscribing=self._subscribing,
                on_subscribed=self._subscribed,
                on_open=lambda: self.opened.append(set(self.confirmed)),
            ),
        )

    def _subscribing(self, topics: list[str], since: float) -> list[str]:
        self.confirmed -= set(topics)
        return topics

    def _subscribed(self, topics: list[str], mark: list[str]) -> None:
        assert topics is mark
        if self.broken:
            raise ChannelLayerUnavailable("the opening fails")
        self.confirmed |= set(topics)

    def _lost(self) -> None:
        self.lost += 1


@pytest.fixture
async def listener(server: RedisServer) -> AsyncIterator[Listener]:
    listener = Listener(server.url)
    yield listener
    await listener.servers.aclose()


def publish(server: RedisServer, *data: str) -> list[int]:
    return [server.execute("PUBLISH", "topic", one) for one in data]


def kill(server: RedisServer) -> None:
    server.execute("CLIENT", "KILL", "TYPE", "pubsub")


async def test_what_is_added_is_heard_at_once(server: RedisServer, listener: Listener) -> None:
    """When `add` returns the server knows the subscription; after `discard` it forgets it."""
    for _ in range(2):
        await listener.servers.add("topic")
    assert publish(server, "one", "two") == [1, 1]
    await eventually(lambda: listener.heard == [b"one", b"two"], "both")
    listener.servers.discard("topic")

    async def forgotten() -> bool:
        return publish(server, "three") == [0]

    await eventually(forgotten, "the server to forget it")


async def test_everything_wanted_is_subscribed_again(
    server: RedisServer, listener: Listener
) -> None:
    """After a broken connection, before the opening is told."""
    topics = {"topic", *(f"t{number}" for number in range(2500))}
    for topic in topics:
        listener.servers.want(topic)
    await eventually(lambda: listener.opened == [topics], "the first connection")
    await asyncio.to_thread(kill, server)
    await eventually(lambda: listener.opened == [topics] * 2, "the new connection")
    assert listener.lost == 1
    assert publish(server, "again") == [1]
    await eventually(lambda: listener.heard == [b"again"], "the message")


async def test_a_failed_opening_confirms_nothing(server: RedisServer, listener: Listener) -> None:
    """While the opening fails there is no subscription to rely on, whatever was there before."""
    await listener.servers.add("topic")
    listener.broken = True
    await asyncio.to_thread(kill, server)
    await eventually(lambda: listener.lost == 1, "the loss")
    for _ in range(3):
        with pytest.raises(ChannelLayerUnavailable):
            await listener.servers.add("topic")
    listener.broken = False

    async def confirmed() -> bool:
        try:
            await listener.servers.add("topic")
        except ChannelLayerUnavailable:
            return False
        return True

    await eventually(confirmed, "the subscription")
    assert publish(server, "again") == [1]


async def test_a_server_that_is_away(server: RedisServer, listener: Listener) -> None:
    """`add` raises within the timeout; the topic is subscribed when the server is back."""
    server.stop()
    with pytest.raises(ChannelLayerUnavailable):
        await listener.servers.add("topic")
    await asyncio.to_thread(server.start)
    await eventually(lambda: listener.opened == [{"topic"}], "the connection")
    assert publish(server, "here") == [1]


async def test_adding_and_discarding_in_one_turn(server: RedisServer, listener: Listener) -> None:
    """The last word counts, however many there are before any of them is confirmed."""

    async def toggle(rounds: int) -> Any:
        for _ in range(rounds):
            adding = asyncio.create_task(listener.servers.add("topic"))
            await asyncio.sleep(0)
            listener.servers.discard("topic")
            adding.cancel()
            await asyncio.wait([adding])

    await listener.servers.add("other")
    await toggle(20)
    await listener.servers.add("topic")
    assert publish(server, "here") == [1]


async def test_a_topic_whose_slot_moves_while_it_is_added() -> None:
    """To leave the node that it was asked from confirms nothing: the next one has to."""
    events = Events(*(lambda *_: None for _ in range(5)))
    cluster = Cluster(parse_hosts(["redis+cluster://127.0.0.1:1"])[0], 0.3, events, keyed=True)
    for port in (1, 2):
        cluster._map = SlotMap([[0, 16383, (b"127.0.0.1", port)]], ("", 0), sharded=True)
        node = cluster.open_node(("127.0.0.1", port))
        if port == 1:
            adding = asyncio.create_task(cluster.add("topic"))
            await eventually(lambda: cluster.listened_at("topic") is not None, "its place")
        await cluster._place_again({node}, moved=True)
        assert cluster.listened_at("topic") is node
    with pytest.raises(ChannelLayerUnavailable):
        await adding
    await cluster.aclose()


def test_topics_of_one_part_are_taken_together() -> None:
    """Each topic once, a bounded number at a time; a part is cut only at the bound."""
    topics = [f"topic {number}" for number in range(1000)]
    slot_of = {topic: number % 7 for number, topic in enumerate(topics)}
    waiting = Waiting(slot_of.__getitem__)
    for topic in topics:
        waiting.add(topic)
    batches = []
    while batch := waiting.take(100):
        batches.append(batch)
    assert [len(batch) for batch in batches] == [100] * 10
    assert sorted(topic for batch in batches for topic in batch) == sorted(topics)
    assert sum(len(list(groupby(batch, slot_of.__getitem__))) for batch in batches) <= 7 + 10
