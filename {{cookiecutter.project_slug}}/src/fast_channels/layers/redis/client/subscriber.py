"""The topics that one event loop listens to on one endpoint.

Invariants
- ``_wanted`` is what should be subscribed, changed at once by ``add``, ``want`` and ``discard``; the
  commands are written in the same step, so that the server sees them in the order of the changes.
- Whenever a connection is made, all wanted topics are subscribed again before it counts as open, a
  batch at a time: a loop that listens to 100,000 topics is not blocked for longer than by 250. Meanwhile
  ``add`` subscribes a topic out of turn.
- A topic is confirmed when a PING written behind its SUBSCRIBE has been answered on the same
  connection: from then on nothing published to it is missed while that connection lives.
- Before each SUBSCRIBE of a topic its listener is told, and again when it is confirmed.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from redis.exceptions import ResponseError

from ....exceptions import ChannelLayerUnavailable
from .commands import KeptConnection
from .connection import Connection, ConnectionLost, OnMessage
from .hosts import Endpoint

BATCH = 250  # topics that are subscribed at once
IN_TURN = 0.2  # seconds in which those that waited for the connection come in turn

PartOf = Callable[[str], int]  # of a topic; in a Cluster its slot, which a command cannot leave


def one_part(topic: str) -> int:
    """Of a server that is alone: one command may name any topics."""
    return 0


@dataclass(frozen=True)
class Events:
    """What subscriptions tell their owner.

    ``on_lost()``: something that was subscribed is not heard any more. ``on_subscribing(topics,
    since)`` is called before they are subscribed, for the first time or again; what was published to
    them since that time of ``time.monotonic`` may not have been heard. Its result goes to
    ``on_subscribed(topics, mark)`` when the server has confirmed. ``on_open()``: nothing that is
    wanted on one connection is left to subscribe. ``on_ended(topic)``: the server ended a subscription by
    itself. Each gets a bounded number of topics, and none of these functions may take long.
    """

    on_message: OnMessage
    on_lost: Callable[[], None]
    on_subscribing: Callable[[list[str], float], Any]
    on_subscribed: Callable[[list[str], Any], None]
    on_open: Callable[[], None]
    on_ended: Callable[[str], None] = lambda _: None


class Waiting:
    """Topics that are to be subscribed, so that those of one part come together."""

    def __init__(self, part_of: PartOf) -> None:
        self._part_of = part_of
        self._parts: dict[int, list[str]] = {}

    def add(self, topic: str) -> None:
        self._parts.setdefault(self._part_of(topic), []).append(topic)

    def take(self, most: int) -> list[str]:
        taken: list[str] = []
        while self._parts and len(taken) < most:
            part, topics = self._parts.popitem()
            start = max(len(topics) - (most - len(taken)), 0)
            taken += topics[start:]
            del topics[start:]
            if topics:
                self._parts[part] = topics
        return taken


class Subscriber:
    """``sharded`` uses the sharded publish/subscribe of Redis Cluster. Topics of which ``part_of`` is the
    same are subscribed together, and so told together to those that ask for their logs.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        timeout: float,
        events: Events,
        *,
        part_of: PartOf = one_part,
        sharded: bool = False,
    ) -> None:
        self._wanted: dict[str, Connection | None] = {}  # and on which it was confirmed
        self._part_of = part_of
        self._waiting = Waiting(part_of)
        self._leaving: dict[str, int] = {}  # UNSUBSCRIBEs that the server has not confirmed yet
        self._deaf_since: float | None = None  # while something wanted is not heard
        self._events = events
        self._prefix = "S" if sharded else ""
        self._open: Connection | None = None  # is open, or opens
        self._settled = asyncio.Event()  # all is subscribed, or will not be for a while
        self._subscribing: asyncio.Task[None] | None = None
        self._kept = KeptConnection(
            endpoint,
            timeout,
            on_open=self._begin,
            on_lost=self._lost,
            on_message=self._receive,
            on_ended=self._ended,
        )
        self.start = self._kept.start

    @property
    def down(self) -> bool:
        return self._kept.down

    @property
    def deaf_since(self) -> float:
        """Since when a wanted topic may not be heard, by ``time.monotonic``; now if all are."""
        return time.monotonic() if self._deaf_since is None else self._deaf_since

    def want(self, topic: str, since: float | None = None) -> None:
        """Subscribe in turn, now or with the next connection; it was not heard since that time."""
        self._wanted.setdefault(topic)
        self._waiting.add(topic)
        self._note_deaf(since)
        self.start()
        if self._kept.connection is not None and self._subscribing is None:
            self._subscribing = asyncio.create_task(self._subscribe_later(self._kept.connection))

    def confirmed(self, topic: str) -> bool:
        return self._open is not None and self._wanted.get(topic) is self._open

    async def add(self, topic: str, since: float | None = None) -> None:
        """As ``want``, and wait until the server has confirmed it.

        ``ChannelLayerUnavailable`` after the timeout; the topic is still wanted then.
        """
        if self.confirmed(topic):
            return
        self._wanted.setdefault(topic)
        self.start()
        try:
            async with asyncio.timeout(self._kept.timeout):
                await self._confirm(topic, since)
        except TimeoutError:
            raise self._kept.unavailable() from None

    def discard(self, topic: str) -> None:
        if self._wanted.pop(topic, None) is not None and self._open is not None:
            self._leaving[topic] = self._leaving.get(topic, 0) + 1
            self._open.cast(f"{self._prefix}UNSUBSCRIBE", topic)

    async def aclose(self) -> None:
        if self._subscribing is not None:
            self._subscribing.cancel()
        await self._kept.aclose()

    # Subscribing

    async def _confirm(self, topic: str, since: float | None) -> None:
        while not self.confirmed(topic):
            connection = self._open
            if connection is None:
                await self._settled.wait()
                continue
            try:
                await self._subscribe(connection, [topic], since)
            except ConnectionLost:
                self._drop(connection)
            except ResponseError as error:  # of the SUBSCRIBE; the replies are out of step now
                raise ChannelLayerUnavailable(f"Redis refused to subscribe: {error}") from error
            else:
                return

    async def _subscribe(
        self, connection: Connection, topics: list[str], since: float | None = None
    ) -> None:
        deaf_since = self.deaf_since
        since = deaf_since if since is None else min(since, deaf_since)
        mark = self._events.on_subscribing(topics, since)
        for _, part in groupby(topics, self._part_of):
            connection.cast(f"{self._prefix}SUBSCRIBE", *part)
        try:
            await connection.call("PING")
        except asyncio.CancelledError:
            for topic in [one for one in topics if one in self._wanted]:  # by others as well
                self._wanted[topic] = None
                self.want(topic, since)
            raise
        if connection is not self._open:
            raise ConnectionLost("The connection was lost while it was asked")
        for topic in topics:
            # One that is being left as well is subscribed again behind that.
            if topic in self._wanted and topic not in self._leaving:
                self._wanted[topic] = connection
        self._events.on_subscribed(topics, mark)

    async def _subscribe_waiting(self, connection: Connection) -> None:
        while batch := self._waiting.take(BATCH):
            topics = [t for t in batch if t in self._wanted and not self.confirmed(t)]
            if topics:
                await self._subscribe(connection, topics)
        self._deaf_since = None
        self._settled.set()
        self._events.on_open()

    async def _subscribe_later(self, connection: Connection) -> None:
        try:
            await self._subscribe_waiting(connection)
        except (ConnectionLost, ResponseError):
            pass  # the connection ends, or will: the replies are out of step
        finally:
            self._subscribing = None

    # The connection

    async def _begin(self, connection: Connection) -> None:
        self._leaving.clear()
        self._open = connection
        patience = asyncio.get_running_loop().call_later(IN_TURN, self._settled.set)
        self._waiting = Waiting(self._part_of)
        try:
            for number, topic in enumerate(list(self._wanted), start=1):
                self._waiting.add(topic)
                if number % BATCH == 0:
                    await asyncio.sleep(0)
            await self._subscribe_waiting(connection)
        except BaseException:  # a ResponseError is a SUBSCRIBE's: the replies are out of step now
            self._drop(connection)
            raise
        finally:
            patience.cancel()

    def _lost(self) -> None:
        if self._open is not None:
            self._drop(self._open)
        self._events.on_lost()

    def _drop(self, connection: Connection) -> None:
        if self._open is connection:
            self._open = None
            self._settled.clear()
            self._note_deaf(time.monotonic())

    def _note_deaf(self, since: float | None) -> None:
        if since is not None:
            self._deaf_since = min(since, self.deaf_since)

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
            self._events.on_ended(name)
