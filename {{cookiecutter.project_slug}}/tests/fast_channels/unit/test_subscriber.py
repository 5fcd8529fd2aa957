"""The topics that a loop listens to, across broken connections, on a real server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import groupby
from typing import Any

import pytest

from fast_channels.exceptions import ChannelLayerUnavailable
from fast_channels.layers.redis.client.hosts import parse_hosts
from fast_channels.layers.redis.client.subscriber import Events, Subscriber, Waiting

from ..support.expect import eventually
from ..support.redis_servers import RedisServer


class Listener:
    """A subscriber that keeps what it hears; with `broken`, its opening fails."""

    def __init__(self, url: str) -> None:
        self.heard: list[bytes] = []
        self.opened: list[set[str]] = []
        self.confirmed: set[str] = set()
        self.lost = 0
        self.broken = False
        self.subscriber = Subscriber(
            parse_hosts([url])[0],
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
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
async def listener(server: RedisServer) -> AsyncIterator[Listener]:
    listener = Listener(server.url)
    yield listener
    await listener.subscriber.aclose()


def publish(server: RedisServer, *data: str) -> list[int]:
    return [server.execute("PUBLISH", "topic", one) for one in data]


def kill(server: RedisServer) -> None:
    server.execute("CLIENT", "KILL", "TYPE", "pubsub")


async def test_what_is_added_is_heard_at_once(server: RedisServer, listener: Listener) -> None:
    """When `add` returns the server knows the subscription; after `discard` it forgets it."""
    for _ in range(2):
        await listener.subscriber.add("topic")
    assert publish(server, "one", "two") == [1, 1]
    await eventually(lambda: listener.heard == [b"one", b"two"], "both")
    listener.subscriber.discard("topic")

    async def forgotten() -> bool:
        return publish(server, "three") == [0]

    await eventually(forgotten, "the server to forget it")


async def test_everything_wanted_is_subscribed_again(
    server: RedisServer, listener: Listener
) -> None:
    """After a broken connection, before the opening is told."""
    topics = {"topic", *(f"t{number}" for number in range(2500))}
    await asyncio.gather(*(listener.subscriber.add(topic) for topic in topics))
    await asyncio.to_thread(kill, server)
    await eventually(lambda: listener.opened == [topics] * 2, "the new connection")
    assert listener.lost == 1
    assert publish(server, "again") == [1]
    await eventually(lambda: listener.heard == [b"again"], "the message")


async def test_a_failed_opening_confirms_nothing(server: RedisServer, listener: Listener) -> None:
    """While the opening fails there is no subscription to rely on, whatever was there before."""
    await listener.subscriber.add("topic")
    listener.broken = True
    await asyncio.to_thread(kill, server)
    await eventually(lambda: listener.lost == 1, "the loss")
    for _ in range(3):
        with pytest.raises(ChannelLayerUnavailable):
            await listener.subscriber.add("topic")
    listener.broken = False

    async def confirmed() -> bool:
        try:
            await listener.subscriber.add("topic")
        except ChannelLayerUnavailable:
            return False
        return True

    await eventually(confirmed, "the subscription")
    assert publish(server, "again") == [1]


async def test_a_server_that_is_away(server: RedisServer, listener: Listener) -> None:
    """`add` raises within the timeout; the topic is subscribed when the server is back."""
    server.stop()
    with pytest.raises(ChannelLayerUnavailable):
        await listener.subscriber.add("topic")
    await asyncio.to_thread(server.start)
    await eventually(lambda: listener.opened == [{"topic"}], "the connection")
    assert publish(server, "here") == [1]


async def test_adding_and_discarding_in_one_turn(server: RedisServer, listener: Listener) -> None:
    """The last word counts, however many there are before any of them is confirmed."""

    async def toggle(rounds: int) -> Any:
        for _ in range(rounds):
            adding = asyncio.create_task(listener.subscriber.add("topic"))
            await asyncio.sleep(0)
            listener.subscriber.discard("topic")
            adding.cancel()
            await asyncio.wait([adding])

    await listener.subscriber.add("other")
    await toggle(20)
    await listener.subscriber.add("topic")
    assert publish(server, "here") == [1]


def test_topics_of_one_part_are_taken_together() -> None:
    """Each topic once, a bounded number at a time; a part is cut only at the bound."""
    topics = [f"topic {number}" for number in range(1000)]
    part_of = {topic: number % 7 for number, topic in enumerate(topics)}
    waiting = Waiting(part_of.__getitem__)
    for topic in topics:
        waiting.add(topic)
    batches = []
    while batch := waiting.take(100):
        batches.append(batch)
    assert [len(batch) for batch in batches] == [100] * 10
    assert sorted(topic for batch in batches for topic in batch) == sorted(topics)
    assert sum(len(list(groupby(batch, part_of.__getitem__))) for batch in batches) <= 7 + 10
