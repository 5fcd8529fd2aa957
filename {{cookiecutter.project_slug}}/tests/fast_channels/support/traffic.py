"""A sender and a listener whose messages are counted."""

import asyncio
from typing import Any

from fast_channels.exceptions import ChannelLayerUnavailable

from .expect import eventually

RECOVERY = 40.0  # seconds; about 5 is usual, a starved machine takes longer


class Traffic:
    """A sender that numbers its messages, and a listener in another process of the app."""

    def __init__(self, sender: Any, listener: Any) -> None:
        self.sender = sender
        self.listener = listener
        self.accepted: list[int] = []
        self.received: list[int] = []
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self.channel = await self.listener.new_channel()
        await self.listener.group_add("room", self.channel)
        self._tasks = [asyncio.create_task(self._send()), asyncio.create_task(self._receive())]

    async def stop(self) -> None:
        sending, receiving = self._tasks
        self._stopping = True  # not cancelled: it would not know whether its last one was accepted
        await sending
        await eventually(lambda: self.received[-1:] == self.accepted[-1:], "the last message")
        receiving.cancel()
        await asyncio.wait([receiving])
        assert receiving.cancelled(), "receive() raised"

    async def goes_on(self) -> None:
        """Wait for 50 more messages that arrive."""
        expected = len(self.received) + 50
        await eventually(
            lambda: len(self.received) >= expected, "messages to arrive again", within=RECOVERY
        )

    async def _send(self) -> None:
        number = 0
        while not self._stopping:
            number += 1
            try:
                await self.sender.group_send("room", {"number": number})
            except ChannelLayerUnavailable:
                continue
            self.accepted.append(number)
            await asyncio.sleep(0.005)

    async def _receive(self) -> None:
        while True:
            self.received.append((await self.listener.receive(self.channel))["number"])
