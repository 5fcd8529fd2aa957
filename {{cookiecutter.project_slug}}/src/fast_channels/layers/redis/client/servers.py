"""Servers that know nothing of each other: the connections that are kept to each one, which of them a topic
lives on, and what is listened to there.

Invariants of a connection that is kept
- A server has at most one at a time; when it is lost, attempts to make a new one back off from 0.05 to 1 s,
  with jitter, for ever. Each attempt asks the Sentinels anew.
- The task that keeps it is an ordinary task of the loop: when the loop ends its tasks, as
  ``asyncio.run`` does, the connection ends too. It ends also if its cancellation is swallowed below.

Invariants of what is listened to
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
import contextlib
import logging
import random
import time
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from redis.asyncio.connection import ConnectionPool
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import RedisError, ResponseError

from ....exceptions import ChannelLayerUnavailable
from ....tasks import cancel_and_wait, is_cancelled
from .commands import (
    CONNECTION_ERRORS,
    NEVER,
    REPLY_TIMEOUT,
    Commands,
    Connection,
    ConnectionLost,
    OnEnded,
    OnMessage,
    Reply,
)
from .hosts import Endpoint, close_pool

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.05  # seconds
LONGEST_PAUSE = 1.0
FOLLOW_INTERVAL = 1.0  # seconds between two questions to the Sentinels
BATCH = 250  # topics that are subscribed at once

SlotOf = Callable[[str], int]  # see ``Servers.slot_of``


class KeptConnection(Commands):
    """For all topics of one server, or of whatever primary the Sentinels name.

    ``on_open(connection)`` is awaited on each new one before anybody else may use it; ``changed`` may be
    shared with others. For the other callbacks see ``Connection``.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        timeout: float,
        *,
        changed: asyncio.Event | None = None,
        on_open: Callable[[Connection], Awaitable[None]] | None = None,
        on_lost: Callable[[], None] = lambda: None,
        on_message: OnMessage | None = None,
        on_ended: OnEnded | None = None,
    ) -> None:
        super().__init__(timeout, changed or asyncio.Event())
        self.endpoint = endpoint
        self.last_error: BaseException | None = None
        self._on_open = on_open
        self._on_lost = on_lost
        self._on_message = on_message
        self._on_ended = on_ended
        self._loop = asyncio.get_running_loop()
        self._keeper: asyncio.Task[None] | None = None
        self._pause = FIRST_PAUSE

    def __str__(self) -> str:
        return str(self.endpoint)

    def start(self) -> None:
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name=f"redis {self.endpoint}")

    async def aclose(self) -> None:
        if self._keeper is not None:
            await cancel_and_wait([self._keeper])
            self._keeper = None

    @property
    def down(self) -> bool:
        """An outage is known: the last attempt failed, or the last connection was lost."""
        return self._connection is None and self.last_error is not None

    def unavailable(self) -> ChannelLayerUnavailable:
        return ChannelLayerUnavailable(
            f"Redis ({self}) did not answer within {self.timeout} s; "
            f"last error: {self.last_error or 'none'}"
        )

    async def _keep(self) -> None:
        pool = self.endpoint.pool()
        try:
            while True:
                try:
                    await self._hold(pool)
                except Exception as error:
                    if is_cancelled():  # the loss came in the same step, in place of CancelledError
                        raise asyncio.CancelledError from error
                    self._note(error)
                    self._drop()
                await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))
                self._pause = min(self._pause * 2, LONGEST_PAUSE)
        finally:
            if not self._loop.is_closed():  # else nothing can be awaited, nor told
                self._drop()
                with contextlib.suppress(*CONNECTION_ERRORS):
                    await close_pool(pool)

    def _note(self, error: Exception) -> None:
        if str(error) != str(self.last_error):  # an outage is told once, not at each attempt
            expected = isinstance(error, CONNECTION_ERRORS)
            log = logger.warning if expected else logger.exception
            log("No connection to Redis (%s): %s", self, error)
        self.last_error = error

    async def _hold(self, pool: ConnectionPool) -> None:
        """Make a connection and keep it; raises when it is lost."""
        redis_connection = pool.make_connection()
        redis_connection.socket_timeout = REPLY_TIMEOUT  # in its introduction
        running: list[asyncio.Task[None]] = []
        try:
            await redis_connection.connect()
            # It opens also without the password, or while the server loads. A server that refuses
            # every command counts as down: attempts back off, and the outage is told once.
            await redis_connection.send_command("PING", check_health=False)
            await redis_connection.read_response()
            if is_cancelled():  # redis-py has swallowed it, by the wait_for of Python 3.11
                raise asyncio.CancelledError
            connection = Connection(redis_connection, self._on_message, self._on_ended, self._drop)
            running.append(asyncio.create_task(connection.run()))
            if isinstance(pool, SentinelConnectionPool):
                running.append(asyncio.create_task(self._follow(pool, connection)))
            if self._on_open is not None:
                await self._on_open(connection)
            self._opened(connection)
            await running[0]
        finally:
            if not self._loop.is_closed():
                await cancel_and_wait(running)
                await redis_connection.disconnect(nowait=True)

    def _opened(self, connection: Connection) -> None:
        self._connection = connection
        if connection.lost:  # while it opened
            self._drop()
            return
        self._changed.set()
        self._changed.clear()
        self._pause = FIRST_PAUSE  # when this one is lost, the first attempt comes soon
        if self.last_error is not None:
            logger.info("Connected to Redis (%s) again", self)
            self.last_error = None

    async def _follow(self, pool: SentinelConnectionPool, connection: Connection) -> None:
        """End the connection when the Sentinels name another primary.

        One that was frozen, or cut off, answers when it is back as if nothing had happened, until
        the Sentinels make it a replica, some ten seconds later.
        """
        followed = pool.master_address
        while True:
            await asyncio.sleep(FOLLOW_INTERVAL)
            with contextlib.suppress(RedisError, asyncio.TimeoutError):
                host, port = named = await pool.get_master_address()
                if named != followed:
                    connection.lose(
                        ConnectionLost(f"The Sentinels name another primary, {host}:{port}")
                    )
            if is_cancelled():  # redis-py has swallowed it while it asked
                raise asyncio.CancelledError

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection = None
            self._on_lost()


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
    """Topics that are to be subscribed: the last ones first, and those of one slot together."""

    def __init__(self, slot_of: SlotOf) -> None:
        self._slot_of = slot_of
        self._slots: dict[int, dict[str, None]] = {}

    def add(self, topic: str) -> None:
        slot = self._slot_of(topic)
        topics = self._slots[slot] = self._slots.pop(slot, {})
        topics.pop(topic, None)
        topics[topic] = None

    def take(self, most: int) -> list[str]:
        taken: list[str] = []
        while self._slots and len(taken) < most:
            slot, topics = self._slots.popitem()
            while topics and len(taken) < most:
                taken.append(topics.popitem()[0])
            if topics:
                self._slots[slot] = topics
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
        self._waiting = Waiting(owner.slot_of)
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
                for _, part in groupby(topics, self._owner.slot_of):
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
        self._waiting = Waiting(self._owner.slot_of)
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
        return self._servers[self.slot_of(topic)]

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

    def slot_of(self, topic: str) -> int:
        """The same for topics that one command may name: of a Cluster its slot, else its server."""
        count = len(self._servers)
        return shard_index(topic, count) if count > 1 else 0

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
