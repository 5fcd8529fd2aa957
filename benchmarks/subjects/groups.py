"""Child: sends to groups of its own process, a window of sends under way, and receives it all."""

import asyncio
from collections import defaultdict
from contextlib import suppress
from itertools import count, cycle, islice
from typing import Any

from ..child import Clock, Options, listen, main, say
from .layers import all_of
from .rooms import Receive, Rooms, open_rooms

TEXT = "x" * 64
PATIENCE = 10.0  # seconds; what has not come by then is lost


async def work(options: Options) -> None:
    rooms = await open_rooms(options)
    rooms.positions = options["positions"]
    sender = Sender(rooms, options)
    await sender.fill(options["members"])
    for _ in range(1 if options["quick"] else 2):
        await sender.exchange()
    say(ready=True)
    listen()
    operations = 0
    clock = Clock()
    while not operations or (clock.wall < options["seconds"] and not sender.lost):
        operations += await sender.exchange()
    used = clock.stop()
    say(operations=operations, **used, extra={"lost": sender.lost} if sender.lost else {})


class Sender:
    """Sends to the groups in turn; `lost` counts what members did not get, or got twice instead."""

    def __init__(self, rooms: Rooms, options: Options) -> None:
        self.lost = 0
        self._rooms = rooms
        self._window: int = options["window"]
        receiving = Listening if options["listening"] else Taking
        self._groups = {f"room-{n}": receiving(rooms) for n in range(options["groups"])}
        self._in_turn = cycle(self._groups)
        self._numbers = count()

    async def fill(self, members: int) -> None:
        for group, receiving in self._groups.items():
            for _ in range(members):
                receiving.add(await self._rooms.join(group))

    async def exchange(self) -> int:
        """One window: every message to every member. Returns the number of sends."""
        sends = [
            (group, {"type": "chat.message", "text": TEXT, "n": next(self._numbers)})
            for group in islice(self._in_turn, self._window)
        ]
        keys: dict[str, set[Any]] = defaultdict(set)
        for group, message in sends:
            keys[group].add(self._rooms.key_of(message))
        for group, expected in keys.items():
            self._groups[group].expect(expected)
        publications = (self._rooms.publish(group, message) for group, message in sends)
        await all_of(self._rooms.kind, publications)
        for group in keys:
            self.lost += await self._groups[group].missing()
        return len(sends)


class Taking:
    """Members that are asked one after the other when everything was sent."""

    def __init__(self, rooms: Rooms) -> None:
        self._key = rooms.key
        self._members: list[Receive] = []

    def add(self, member: Receive) -> None:
        self._members.append(member)

    def expect(self, keys: set[Any]) -> None:
        self._keys = keys

    async def missing(self) -> int:
        """Receive; returns how many messages did not come."""
        key, turns = self._key, range(len(self._keys))
        outstanding = len(self._keys) * len(self._members)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                for receive in self._members:
                    received = {key(await receive()) for _ in turns}
                    outstanding -= len(self._keys & received)
        return outstanding


class Listening:
    """Members that wait all the time, each in a task of its own, as consumers of sockets do."""

    def __init__(self, rooms: Rooms) -> None:
        self._key = rooms.key
        self._tasks: list[asyncio.Task[None]] = []
        self._keys: set[Any] = set()
        self._outstanding = 0
        self._complete = asyncio.Event()

    def add(self, member: Receive) -> None:
        self._tasks.append(asyncio.create_task(self._listen(member)))

    def expect(self, keys: set[Any]) -> None:
        self._keys = keys
        self._outstanding = len(self._tasks)
        self._complete.clear()

    async def missing(self) -> int:
        """Wait; returns how many members did not get everything."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._complete.wait()
        return self._outstanding

    async def _listen(self, receive: Receive) -> None:
        received: set[Any] = set()
        while True:
            received.add(self._key(await receive()))
            if len(received) == len(self._keys) and received == self._keys:
                received.clear()
                self._outstanding -= 1
                if not self._outstanding:
                    self._complete.set()


if __name__ == "__main__":
    main(work)
