"""Which server a topic lives on, where servers know nothing of each other; and what is listened to there.

Invariants
- What a server's ``_wanted`` holds should be subscribed there; it is changed at once by ``want`` and
  ``discard``. One batch of it is under way at a time.
- Whenever a connection is made, all wanted topics are subscribed again before it counts as open, a
  batch at a time: a loop that listens to 100,000 topics is not blocked for longer than by 250. What is
  added meanwhile comes with the next batch.
- A topic is confirmed when a PING written behind its SUBSCRIBE has been answered on the same
  connection: from then on nothing published to it is missed while that connection lives.
- Before each SUBSCRIBE of a topic its listener is told, and again when it is confirmed.
"""

import asyncio
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from redis.exceptions import ResponseError

from ....exceptions import ChannelLayerUnavailable
from .commands import Commands, KeptConnection
from .connection import NEVER, Connection, OnMessage, Reply
from .hosts import Endpoint

BATCH = 250  # topics that are subscribed at once

PartOf = Callable[[str], int]  # see ``Servers.part_of``


@dataclass(frozen=True)
class Events:
    """What subscriptions tell their owner.

    ``on_lost()``: something that was subscribed is not heard any more. ``on_subscribing(topics,
    since)`` is called before they are subscribed, for the first time or again; what was published to
    them since that time of ``time.monotonic`` may not have been heard. Its result goes to
    ``on_subscribed(topics, mark)`` when the server has confirmed. ``on_open()``: nothing that is
    wanted on one connection is left to subscribe. Each gets a bounded number of topics, and none of
    these functions may take long.
    """

    on_message: OnMessage
    on_lost: Callable[[], None]
    on_subscribing: Callable[[list[str], float], Any]
    on_subscribed: Callable[[list[str], Any], None]
    on_open: Callable[[], None]


class Waiting:
    """Topics that are to be subscribed: the last ones first, and those of one part together."""

    def __init__(self, part_of: PartOf) -> None:
        self._part_of = part_of
        self._parts: dict[int, dict[str, None]] = {}

    def add(self, topic: str) -> None:
        part = self._part_of(topic)
        topics = self._parts[part] = self._parts.pop(part, {})
        topics.pop(topic, None)
        topics[topic] = None

    def take(self, most: int) -> list[str]:
        taken: list[str] = []
        while self._parts and len(taken) < most:
            part, topics = self._parts.popitem()
            while topics and len(taken) < most:
                taken.append(topics.popitem()[0])
            if topics:
                self._parts[part] = topics
        return taken


@dataclass(eq=False, slots=True)
class SubscribeBatch:
    """To its connection it is the future of the reply to the PING behind it."""

    connection: Connection
    topics: list[str]
    mark: Any  # see ``Events``
    on_reply: "Callable[[SubscribeBatch, Exception | None], None]"
    _answered: bool = False

    def done(self) -> bool:
        return self._answered

    def set_result(self, reply: Reply) -> None:
        self._answered = True
        self.on_reply(self, None)

    def set_exception(self, error: Exception) -> None:
        self._answered = True
        self.on_reply(self, error)


class Server:
    """One endpoint: a connection for ``commands``, and one for the topics that are listened to there."""

    def __init__(self, endpoint: Endpoint, owner: "Servers") -> None:
        self.commands = KeptConnection(endpoint, owner.timeout, changed=owner.changed)
        self._listening = KeptConnection(
            endpoint,
            owner.timeout,
            on_open=self._begin,
            on_lost=self._lost,
            on_message=self._receive,
            on_ended=self._ended,
        )
        self._owner = owner
        self._events = owner.events
        self._prefix = "S" if owner.sharded else ""
        self._wanted: dict[str, Connection | None] = {}  # and on which it was confirmed
        self._waiting = Waiting(owner.part_of)
        self._leaving: dict[str, int] = {}  # UNSUBSCRIBEs that the server has not confirmed yet
        self._deaf_since: float | None = None  # while something wanted is not heard
        self._open: Connection | None = None  # is open, or opens
        self._batch: SubscribeBatch | None = None  # under way
        self._complete: asyncio.Future[None] | None = None  # while a connection opens

    def start(self) -> None:
        self.commands.start()
        self._listening.start()

    async def aclose(self) -> None:
        await asyncio.gather(self.commands.aclose(), self._listening.aclose())

    @property
    def down(self) -> bool:
        """See ``KeptConnection.down``."""
        return self.commands.down or self.deaf

    @property
    def deaf(self) -> bool:
        return self._listening.down

    @property
    def deaf_since(self) -> float:
        """Since when a wanted topic may not be heard, by ``time.monotonic``; now if all are."""
        return time.monotonic() if self._deaf_since is None else self._deaf_since

    def want(self, topic: str, since: float | None = None) -> None:
        """Subscribe now, or with the next connection; it was not heard since that time."""
        self._wanted.setdefault(topic)
        self._waiting.add(topic)
        if since is not None:
            self._deaf_since = min(since, self.deaf_since)
        self._listening.start()
        self._subscribe_next()

    def confirmed(self, topic: str) -> bool:
        return self._open is not None and self._wanted.get(topic) is self._open

    def discard(self, topic: str) -> None:
        if topic not in self._wanted:
            return
        del self._wanted[topic]
        if self._open is not None:
            self._leaving[topic] = self._leaving.get(topic, 0) + 1
            self._open.cast(f"{self._prefix}UNSUBSCRIBE", topic)

    # Subscribing

    def _subscribe_next(self) -> None:
        """A batch of what waits, unless one is under way, or there is no connection."""
        connection = self._open
        if connection is None or self._batch is not None:
            return
        while waiting := self._waiting.take(BATCH):
            topics = [t for t in waiting if t in self._wanted and not self.confirmed(t)]
            if topics:
                mark = self._events.on_subscribing(topics, self.deaf_since)
                self._batch = SubscribeBatch(connection, topics, mark, self._replied)
                for _, part in groupby(topics, self._owner.part_of):
                    connection.cast(f"{self._prefix}SUBSCRIBE", *part)
                connection.send(("PING",), self._batch, NEVER)
                return
        complete, self._complete = self._complete, None
        if complete is not None or self._deaf_since is not None:
            self._deaf_since = None
            self._events.on_open()
        if complete is not None and not complete.done():
            complete.set_result(None)

    def _replied(self, batch: SubscribeBatch, error: Exception | None) -> None:
        if batch is not self._batch:
            return  # the connection was given up
        self._batch = None
        try:
            if error is not None:
                raise error
            self._confirm(batch)
            self._subscribe_next()
        except Exception as failure:
            self._drop()
            if isinstance(failure, ResponseError):  # of a SUBSCRIBE
                self._owner.refused(batch.topics, failure)
            if self._complete is not None and not self._complete.done():
                self._complete.set_exception(failure)
            batch.connection.lose(failure)  # whose replies may be out of step now

    def _confirm(self, batch: SubscribeBatch) -> None:
        # One that is being left as well is subscribed again behind that.
        heard = [t for t in batch.topics if t in self._wanted and t not in self._leaving]
        self._wanted.update(dict.fromkeys(heard, batch.connection))
        self._events.on_subscribed(batch.topics, batch.mark)
        self._owner.settle(heard)

    # The connection

    async def _begin(self, connection: Connection) -> None:
        self._leaving.clear()
        self._waiting = Waiting(self._owner.part_of)
        for number, topic in enumerate(list(self._wanted), start=1):
            self._waiting.add(topic)
            if number % BATCH == 0:
                await asyncio.sleep(0)
        self._open = connection
        self._complete = asyncio.get_running_loop().create_future()
        try:
            complete = self._complete
            self._subscribe_next()
            await complete
        except BaseException:
            self._drop()
            raise

    def _lost(self) -> None:
        self._drop()
        self._owner.lost()

    def _drop(self) -> None:
        if self._open is not None:
            self._open = self._batch = None
            self._deaf_since = self.deaf_since

    def _receive(self, topic: bytes, data: bytes) -> None:
        """What comes before an UNSUBSCRIBE is confirmed is not for a member that has joined again since."""
        if not self._leaving or topic.decode() not in self._leaving:
            self._events.on_message(topic, data)

    def _ended(self, topic: bytes) -> None:
        """The server confirms an UNSUBSCRIBE, or has moved the topic's slot to another node."""
        name = topic.decode()
        if unconfirmed := self._leaving.pop(name, 0):
            if unconfirmed > 1:
                self._leaving[name] = unconfirmed - 1
        elif self.confirmed(name):
            self._wanted[name] = None
            self._owner.ended(name)


class Servers:
    """One server or several; a topic's name alone chooses one of them. ``timeout`` is in seconds."""

    def __init__(self, endpoints: list[Endpoint], timeout: float, events: Events) -> None:
        self.timeout = timeout
        self.events = events
        self.changed = asyncio.Event()  # see ``Commands.connection``
        self._adding: dict[str, list[asyncio.Future[Exception | None]]] = {}  # not confirmed yet
        self._servers = [Server(endpoint, self) for endpoint in endpoints]

    def start(self) -> None:
        for server in self._servers:
            server.start()

    async def aclose(self) -> None:
        await asyncio.gather(*(server.aclose() for server in self._servers))

    # Where a topic lives

    def _server_of(self, topic: str) -> Server:
        servers = self._servers
        return servers[shard_index(topic, len(servers)) if len(servers) > 1 else 0]

    def commands(self, topic: str) -> Commands:
        return self._server_of(topic).commands

    def commands_of_key(self, key: str) -> Commands:
        """Where a key lives, also where topics are no keys."""
        return self.commands(key)

    async def primaries(self) -> list[Commands]:
        """One for each server that holds a part of the keys."""
        return [server.commands for server in self._servers]

    @property
    def sharded(self) -> bool:
        """They use the sharded publish/subscribe of Redis Cluster."""
        return False

    def part_of(self, topic: str) -> int:
        """The same for topics that one command may name, which are subscribed together."""
        return 0

    # Listening

    def listened_at(self, topic: str) -> Server | None:
        return self._server_of(topic)

    def down(self, topic: str) -> bool:
        """An outage is known, in which the topic cannot be heard."""
        return self._server_of(topic).deaf

    def want(self, topic: str) -> None:
        """Subscribe now, or as soon as that can be."""
        self._server_of(topic).want(topic)

    async def add(self, topic: str) -> None:
        """As ``want``, and wait until the server has confirmed it.

        ``ChannelLayerUnavailable`` after the timeout; the topic is still wanted then.
        """
        server = self.listened_at(topic)
        if server is not None and server.confirmed(topic):
            return
        added: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        others = [one for one in self._adding.get(topic, ()) if not one.done()]
        self._adding[topic] = [*others, added]
        self.want(topic)
        try:
            async with asyncio.timeout(self.timeout):
                refusal = await added
        except TimeoutError:
            raise self.commands(topic).unavailable() from None
        if refusal is not None:
            raise ChannelLayerUnavailable(f"Redis refused to subscribe: {refusal}") from refusal

    def discard(self, topic: str) -> None:
        self.settle([topic])
        if (server := self.listened_at(topic)) is not None:
            server.discard(topic)

    # What a server tells

    def settle(self, topics: list[str], refusal: Exception | None = None) -> None:
        """Those that are added wait no longer."""
        for topic in topics:
            for added in self._adding.pop(topic, ()):
                if not added.done():
                    added.set_result(refusal)

    def refused(self, topics: list[str], error: Exception) -> None:
        self.settle(topics, error)

    def lost(self) -> None:
        """Something that was listened to is not heard any more."""
        self.events.on_lost()

    def ended(self, topic: str) -> None:
        """The server ended a subscription by itself."""


def shard_index(topic: str, number: int) -> int:
    """An index below ``number``, the same for the same topic in every process."""
    return zlib.crc32(topic.encode()) % number
