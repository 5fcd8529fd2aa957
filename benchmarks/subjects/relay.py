"""Child: one side of a traffic between processes.

The sender sends windows of messages, each when every receiver has confirmed the last by a byte in
a pipe. A receiver confirms when each of its members has the whole window. A last message, confirmed
like a window, ends it.
"""

import asyncio
import os
from collections.abc import Callable
from itertools import count
from typing import Any

from ..child import Clock, Options, listen, main, say
from .groups import PATIENCE, TEXT
from .rooms import Receive, Rooms, open_rooms

GROUP = "room"
WARM_UP = 2  # windows before the clock starts
END = -1  # the number of the last message


async def work(options: Options) -> None:
    rooms = await open_rooms(options)
    if options["role"] == "sender":
        await Sender(rooms, options).work()
    else:
        await receive(rooms, options)


class Sender:
    def __init__(self, rooms: Rooms, options: Options) -> None:
        self._rooms, self._options = rooms, options
        self._window: int = options["window"]
        self._numbers = count()
        self._confirmations = Confirmations(options["pipe"])

    async def work(self) -> None:
        say(open=True)
        self._address = listen()["address"]
        for _ in range(WARM_UP):
            await self._exchange()
        say(ready=True)
        listen()
        windows, seconds = 0, self._options["seconds"]
        clock = Clock()
        while not windows or (clock.wall < seconds and windows < self._options["most"]):
            await self._exchange()
            windows += 1
        used = clock.stop()
        await self._send(END)
        await self._confirmed()
        say(operations=windows * self._window, **used)

    async def _exchange(self) -> None:
        numbers = [next(self._numbers) for _ in range(self._window)]
        await asyncio.gather(*map(self._send, numbers))
        await self._confirmed()

    async def _confirmed(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._confirmations.wait(self._options["receivers"])
        except TimeoutError:
            raise RuntimeError("a receiver did not get all of the last window") from None

    async def _send(self, number: int) -> None:
        message = {"type": "chat.message", "text": TEXT, "n": number}
        if self._address is None:
            await self._rooms.publish(GROUP, message)
        else:
            await self._rooms.send(self._address, message)


class Confirmations:
    """Counts the bytes in a pipe."""

    def __init__(self, pipe: int) -> None:
        self._pipe, self._count = pipe, 0
        self._came = asyncio.Event()
        os.set_blocking(pipe, False)
        asyncio.get_running_loop().add_reader(pipe, self._read)

    def _read(self) -> None:
        self._count += len(os.read(self._pipe, 4096))
        self._came.set()

    async def wait(self, number: int) -> None:
        """Take so many."""
        while self._count < number:
            self._came.clear()
            await self._came.wait()
        self._count -= number


async def receive(rooms: Rooms, options: Options) -> None:
    address: str | None = None
    if options["members"] is None:
        address, member = await rooms.inbox()
        members = [member]
    else:
        members = [await rooms.join(GROUP) for _ in range(options["members"])]
    say(address=address)
    window = options["window"]
    for start in range(0, WARM_UP * window, window):
        await _receive_window(rooms, members, start, window)
        os.write(options["pipe"], b".")
    say(ready=True)
    listen()
    clock = Clock()
    start = WARM_UP * window
    while await _receive_window(rooms, members, start, window):
        os.write(options["pipe"], b".")
        start += window
    used = clock.stop()
    os.write(options["pipe"], b".")
    say(operations=start, **used)


async def _receive_window(rooms: Rooms, members: list[Receive], start: int, window: int) -> bool:
    """False if the end came instead."""
    key: Callable[[Any], Any] = rooms.key
    expected = set(range(start, start + window))
    for member in members:
        first = key(await member())
        if first == END:
            return False
        received = {first, *[key(await member()) for _ in range(window - 1)]}
        if received != expected:
            raise RuntimeError(f"missed {len(expected - received)} messages from {start} on")
    return True


if __name__ == "__main__":
    main(work)
