"""Child: sends to groups of its own process, a window of sends under way, and receives it all."""

import asyncio
from collections import defaultdict
from itertools import count, cycle, islice
from typing import Any

from ..child import Clock, Options, listen, main, say
from .rooms import Message, Receive, Rooms, open_rooms

TEXT = "x" * 64
PATIENCE = 10.0  # seconds; what has not come by then is lost


async def work(options: Options) -> None:
    rooms = await open_rooms(options)
    sender = Sender(rooms, options["groups"], options["window"])
    await sender.fill(options["members"])
    for _ in range(1 if options["quick"] else 2):
        await sender.exchange()
    say(ready=True)
    listen()
    operations = 0
    clock = Clock()
    while clock.wall < options["seconds"] and not sender.lost:
        operations += await sender.exchange()
    used = clock.stop()
    say(operations=operations, **used, extra={"lost": sender.lost} if sender.lost else {})


class Sender:
    """Sends to the groups in turn; `lost` counts what members did not get, or got twice instead."""

    def __init__(self, rooms: Rooms, groups: int, window: int) -> None:
        self.lost = 0
        self._rooms = rooms
        self._members: dict[str, list[Receive]] = {f"room-{n}": [] for n in range(groups)}
        self._in_turn = cycle(self._members)
        self._window = window
        self._numbers = count()

    async def fill(self, members: int) -> None:
        for group, receivers in self._members.items():
            for _ in range(members):
                receivers.append(await self._rooms.join(group))

    async def exchange(self) -> int:
        """One window: every message to every member. Returns the number of sends."""
        sends = [
            (group, {"type": "chat.message", "text": TEXT, "n": next(self._numbers)})
            for group in islice(self._in_turn, self._window)
        ]
        await asyncio.gather(*(self._rooms.publish(group, message) for group, message in sends))
        expected: dict[str, list[Message]] = defaultdict(list)
        for group, message in sends:
            expected[group].append(message)
        for group, messages in expected.items():
            keys = {self._rooms.key_of(message) for message in messages}
            await self._receive(group, keys)
        return len(sends)

    async def _receive(self, group: str, keys: set[Any]) -> None:
        key, turns = self._rooms.key, range(len(keys))
        outstanding = len(keys) * len(self._members[group])
        try:
            async with asyncio.timeout(PATIENCE):
                for receive in self._members[group]:
                    received = {key(await receive()) for _ in turns}
                    outstanding -= len(keys & received)
        except TimeoutError:
            pass
        self.lost += outstanding


if __name__ == "__main__":
    main(work)
