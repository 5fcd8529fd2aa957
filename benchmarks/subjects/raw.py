"""What one writes by hand: a dict of sets of queues, JSON, redis-py with one subscriber connection."""

import asyncio
import json
from collections import defaultdict

from redis.asyncio import Redis

from .rooms import Message, Receive, Rooms


class RawRooms(Rooms):
    async def open(self) -> None:
        self._members: dict[str, set[asyncio.Queue[Message]]] = defaultdict(set)
        if self.kind == "pubsub":
            self._redis = Redis.from_url(self.url, socket_timeout=None)
            self._subscriber = self._redis.pubsub()
            self._listening: asyncio.Task[None] | None = None
            self._confirmed: asyncio.Queue[str] = asyncio.Queue()

    async def join(self, group: str) -> Receive:
        queue: asyncio.Queue[Message] = asyncio.Queue()
        if self.kind == "pubsub" and group not in self._members:
            await self._subscribe(group)
        self._members[group].add(queue)
        return queue.get

    async def publish(self, group: str, message: Message) -> None:
        if self.kind == "pubsub":
            await self._redis.publish(group, json.dumps(message))
        else:
            self._deliver(group, message)

    def _deliver(self, group: str, message: Message) -> None:
        for queue in self._members[group]:
            queue.put_nowait(message)

    async def _subscribe(self, group: str) -> None:
        await self._subscriber.subscribe(group)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        await self._confirmed.get()

    async def _listen(self) -> None:
        async for event in self._subscriber.listen():
            if event["type"] == "message":
                self._deliver(event["channel"].decode(), json.loads(event["data"]))
            else:
                self._confirmed.put_nowait(event["type"])
