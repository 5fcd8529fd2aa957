"""The load: two web processes, sockets on both that listen, senders on both, and their counts."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from .clients import Listener, Sender, open_socket
from .processes import WebProcess
from .report import Result
from .tally import Track
from .waiting import RECOVERY_SECONDS, SETTLE_SECONDS, NotRecovered, comes_true

PROCESSES = 2


@dataclass(frozen=True)
class Load:
    """`rate` is the messages per second of all senders together; `sockets` is who listens."""

    sockets: int = 50
    senders: int = 8
    rate: float = 200.0


class Traffic:
    """Runs from entering to leaving; `layer` is what the web processes read as FAULTS_LAYER."""

    def __init__(self, layer: dict[str, Any], load: Load, folder: Path) -> None:
        self.web = [
            WebProcess(folder / f"web-{n}.log", FAULTS_LAYER=json.dumps(layer))
            for n in range(PROCESSES)
        ]
        self.listeners: list[Listener] = []
        self.senders: list[Sender] = []
        self._load = load
        self._listening: list[asyncio.Task[None]] = []
        self._sending: list[asyncio.Task[None]] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with self._stack as stack:
            for web in self.web:
                stack.enter_context(web)
            stack.push_async_callback(self._end)
            await self._connect(stack)
            self._listening = [asyncio.create_task(one.run()) for one in self.listeners]
            self._sending = [asyncio.create_task(one.run()) for one in self.senders]
            await self.recover()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def _connect(self, stack: AsyncExitStack) -> None:
        for n in range(self._load.sockets):
            address = self.web[n % PROCESSES].address
            socket = await stack.enter_async_context(open_socket(address, "listen"))
            self.listeners.append(Listener(socket))
        rate = self._load.rate / self._load.senders
        for n in range(self._load.senders):
            address = self.web[n % PROCESSES].address
            socket = await stack.enter_async_context(open_socket(address, "send"))
            self.senders.append(Sender(socket, f"sender-{n}", rate))

    async def recover(self) -> float:
        """When each sender had sent something after this was called that was accepted, and every
        socket had heard from it.
        """
        marks = [(one, one.sent.last) for one in self.senders]
        if not await comes_true(lambda: self._have_passed(marks), RECOVERY_SECONDS):
            raise NotRecovered(
                f"some socket heard nothing new for {RECOVERY_SECONDS:g} s\n"
                + "".join(web.last_words for web in self.web)
            )
        return time.monotonic()

    async def count(self, result: Result) -> None:
        """End the load, wait for what is still under way, and fill in the counts."""
        for sender in self.senders:
            sender.stop()
        await asyncio.gather(*self._sending)
        pending = self._behind if "lost" in result.allowed else self._lost
        await comes_true(lambda: not pending(), SETTLE_SECONDS)
        sent = {one.name: one.sent for one in self.senders}
        tracks = [pair for one in self.listeners for pair in one.tracks.items()]
        result.sent = sum(one.last for one in sent.values())
        result.accepted = sum(one.accepted for one in sent.values())
        result.lost = len(self._lost())
        result.doubled = sum(track.doubled for _, track in tracks)
        result.reordered = sum(track.reordered(sent[name]) for name, track in tracks)
        result.gaps = sum(one.gaps for one in self.listeners)
        result.closed = sum(one.closed for one in self.listeners)
        result.closed += sum(one.closed for one in self.senders)
        result.errors = sum(web.errors for web in self.web)
        result.dropped = sum([await self._dropped(web) for web in self.web])

    def _have_passed(self, marks: list[tuple[Sender, int]]) -> bool:
        return all(
            sender.sent.last_accepted > mark and self._have_heard(sender.name, mark)
            for sender, mark in marks
            if not sender.closed
        )

    def _have_heard(self, name: str, mark: int) -> bool:
        return all(one.tracks[name].highest > mark for one in self.listeners if not one.closed)

    def _lost(self) -> set[tuple[str, int]]:
        """The accepted messages that some socket which is still open did not get."""
        return {
            (sender.name, number)
            for sender, track in self._open_tracks()
            for number in track.lost(sender.sent)
        }

    def _behind(self) -> bool:
        """Whether the last accepted messages are still under way."""
        return any(track.is_behind(sender.sent) for sender, track in self._open_tracks())

    def _open_tracks(self) -> Iterator[tuple[Sender, Track]]:
        for one in self.listeners:
            if not one.closed:
                yield from ((sender, one.tracks[sender.name]) for sender in self.senders)

    async def _dropped(self, web: WebProcess) -> int:
        def ask() -> int:
            with urllib.request.urlopen(f"http://{web.address}/dropped", timeout=10) as answer:
                return int(answer.read())

        return await asyncio.to_thread(ask)

    async def _end(self) -> None:
        tasks = self._listening + self._sending
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
