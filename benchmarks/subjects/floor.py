"""The floor: a deque per member, msgpack, the smallest Redis client. No guarantee at all.

The queue kind appends to a stream and publishes, as a layer does that can be caught up with; nobody
reads the stream.
"""

import asyncio
from collections import defaultdict, deque
from typing import Any

import msgpack

from .resp import Resp
from .rooms import Message, Receive, Rooms

STREAM_LENGTH = 10_000


class Member:
    """A deque and at most one waiter."""

    __slots__ = ("_loop", "_messages", "_waiter")

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    def put(self, message: Message) -> None:
        self._messages.append(message)
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
            self._waiter = None

    async def get(self) -> Message:
        while not self._messages:
            self._waiter = self._loop.create_future()
            await self._waiter
        return self._messages.popleft()


class FloorRooms(Rooms):
    async def open(self) -> None:
        self._members: dict[bytes, list[Member]] = defaultdict(list)
        self._confirmed: asyncio.Queue[Any] = asyncio.Queue()
        if self.kind != "memory":
            self._commands = await Resp.connect(self.url)
            self._subscriber = await Resp.connect(self.url, on_push=self._on_push)

    async def join(self, group: str) -> Receive:
        member = Member()
        if self.kind != "memory" and group.encode() not in self._members:
            self._subscriber.write("SUBSCRIBE", group)
            await self._confirmed.get()
        self._members[group.encode()].append(member)
        return member.get

    async def publish(self, group: str, message: Message) -> None:
        if self.kind == "memory":
            self._deliver(group.encode(), message)
            return
        data = msgpack.packb(message)
        if self.kind == "queue":
            self._commands.write("XADD", f"s:{group}", "MAXLEN", "~", STREAM_LENGTH, "*", "m", data)
        self._commands.write("PUBLISH", group, data)

    def _on_push(self, reply: list[Any]) -> None:
        what, group, data = reply
        if what == b"message":
            self._deliver(group, msgpack.unpackb(data))
        else:
            self._confirmed.put_nowait(what)

    def _deliver(self, group: bytes, message: Message) -> None:
        for member in self._members[group]:
            member.put(message)
