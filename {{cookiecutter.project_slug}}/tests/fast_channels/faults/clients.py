"""The harness's ends of the sockets."""

import asyncio
from collections import defaultdict
from contextlib import suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from .app import GAP, REFUSED
from .tally import Sent, Track

CONNECT_SECONDS = 30.0


def open_socket(address: str, path: str) -> connect:
    """To be awaited. Without compression and pings: a frozen server is no reason to close."""
    return connect(
        f"ws://{address}/{path}",
        proxy=None,
        compression=None,
        ping_interval=None,
        open_timeout=CONNECT_SECONDS,
    )


class Listener:
    """Reads until the socket closes; `closed` says whether that has happened."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.tracks: defaultdict[str, Track] = defaultdict(Track)
        self.gaps = 0
        self.closed = False

    async def run(self) -> None:
        with suppress(ConnectionClosed):
            async for frame in self._socket:
                if frame == GAP:
                    self.gaps += 1
                else:
                    name, number = str(frame).split()
                    self.tracks[name].add(int(number))
        self.closed = True


class Sender:
    """Sends `rate` numbered messages a second at most, and waits for the answer to each."""

    def __init__(self, socket: ClientConnection, name: str, rate: float) -> None:
        self._socket = socket
        self.name = name
        self.sent = Sent()
        self._pause = 1 / rate
        self._stopping = asyncio.Event()
        self.closed = False

    async def run(self) -> None:
        try:
            while not self._stopping.is_set():
                await self._send_one()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pause):
                        await self._stopping.wait()
        except ConnectionClosed:
            self.sent.refused.add(self.sent.last)  # never answered: nobody knows
            self.closed = True

    def stop(self) -> None:
        """`run()` ends after the answer that it waits for."""
        self._stopping.set()

    async def _send_one(self) -> None:
        self.sent.last += 1
        await self._socket.send(f"{self.name} {self.sent.last}")
        if await self._socket.recv() == REFUSED:
            self.sent.refused.add(self.sent.last)
        else:
            self.sent.last_accepted = self.sent.last
