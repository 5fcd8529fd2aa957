"""The topics that one event loop listens to on one endpoint.

Invariants
- ``_wanted`` is what should be subscribed, changed at once by ``add`` and ``discard``; the commands
  are written in the same step, so that the server sees them in the order of the changes.
- Whenever a connection is made, all wanted topics are subscribed again before it counts as open.
- A topic is confirmed when a PING written behind its SUBSCRIBE has been answered on the same
  connection: from then on nothing published to it is missed while that connection lives.
"""

import asyncio
from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

from ...exceptions import ChannelLayerUnavailable
from .endpoints import Endpoint
from .link import Link, LinkLost
from .persistent import PersistentLink

if TYPE_CHECKING:
    from .topology import Events

BATCH = 1000  # topics in one SUBSCRIBE, so that no command grows without bound


class Subscriber:
    """``sharded`` uses the sharded publish/subscribe of Redis Cluster, where a topic has a slot."""

    def __init__(
        self, endpoint: Endpoint, timeout: float, events: "Events", *, sharded: bool = False
    ) -> None:
        self._wanted: set[str] = set()
        self._confirmed: set[str] = set()
        self._leaving: dict[str, int] = {}  # UNSUBSCRIBEs that the server has not confirmed yet
        self._events = events
        self._prefix = "S" if sharded else ""
        self._batch = 1 if sharded else BATCH  # topics of one command must share a slot
        self._connection = PersistentLink(
            endpoint,
            timeout,
            on_open=self._subscribe_all,
            on_lost=self._lost,
            on_message=self._receive,
            on_ended=self._ended,
        )
        self.start = self._connection.start
        self.aclose = self._connection.aclose

    @property
    def down(self) -> bool:
        return self._connection.down

    def want(self, topic: str) -> None:
        """Subscribe with the next connection; for use while there is none."""
        self._wanted.add(topic)

    def wants(self, topic: str) -> bool:
        return topic in self._wanted

    def confirmed(self, topic: str) -> bool:
        return topic in self._confirmed

    async def add(self, topic: str) -> bool:
        """Subscribe and wait until that is confirmed; True if this call made it so.

        ``ChannelLayerUnavailable`` after the timeout; the topic is still wanted then.
        """
        if topic in self._confirmed:
            return False
        self._wanted.add(topic)
        try:
            async with asyncio.timeout(self._connection.timeout):
                return await self._confirm(topic)
        except TimeoutError:
            raise self._connection.unavailable() from None

    def discard(self, topic: str) -> None:
        if topic in self._wanted:
            self._wanted.discard(topic)
            self._confirmed.discard(topic)
            if self._connection.link is not None:
                self._leaving[topic] = self._leaving.get(topic, 0) + 1
                self._connection.link.cast(f"{self._prefix}UNSUBSCRIBE", topic)

    async def _confirm(self, topic: str) -> bool:
        while topic not in self._confirmed:
            link = self._connection.link
            if link is None:
                await self._connection.connected()  # subscribes all that is wanted
                continue
            link.cast(f"{self._prefix}SUBSCRIBE", topic)
            try:
                await link.call("PING")
            except LinkLost:
                continue
            except ResponseError as error:  # of the SUBSCRIBE; the replies are out of step now
                raise ChannelLayerUnavailable(f"Redis refused to subscribe: {error}") from error
            if topic in self._wanted:
                self._confirmed.add(topic)
            return True
        return False

    async def _subscribe_all(self, link: Link) -> None:
        topics = list(self._wanted)
        for start in range(0, len(topics), self._batch):
            link.cast(f"{self._prefix}SUBSCRIBE", *topics[start : start + self._batch])
        try:
            await link.call("PING")
        except ResponseError as error:  # of a SUBSCRIBE; the replies are out of step now
            raise LinkLost(f"Redis refused to subscribe: {error}") from error
        await self._events.on_open(topics)
        self._confirmed = self._wanted.intersection(topics)  # not before: the opening may fail yet

    def _lost(self) -> None:
        self._confirmed.clear()
        self._leaving.clear()
        self._events.on_lost(list(self._wanted))

    def _receive(self, topic: bytes, data: bytes) -> None:
        """What comes before an UNSUBSCRIBE is confirmed is not for who has joined again since."""
        if not self._leaving or topic.decode() not in self._leaving:
            self._events.on_message(topic, data)

    def _ended(self, topic: bytes) -> None:
        """The server confirms an UNSUBSCRIBE, or has moved the topic's slot to another node."""
        name = topic.decode()
        if unconfirmed := self._leaving.pop(name, 0):
            if unconfirmed > 1:
                self._leaving[name] = unconfirmed - 1
        elif name in self._confirmed:
            self._confirmed.discard(name)
            self._events.on_lost([name])
