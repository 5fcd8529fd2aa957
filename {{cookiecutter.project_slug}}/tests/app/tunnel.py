"""A TCP port in front of web processes, as a balancer or a phone's network is: it breaks, and comes back."""

import asyncio
from collections.abc import Coroutine
from threading import Thread
from typing import Any, Self, TypeVar

from ..fast_channels.support.redis_servers.ports import HOST

PATIENCE = 20.0  # seconds
T = TypeVar("T")


class Tunnel:
    """Carries each connection to the first of `ports` that answers. It has an event loop of its own."""

    def __init__(self, *ports: int) -> None:
        self.ports = ports
        self._broken = False
        self._ends: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._carry, HOST, 0))
        self.url = f"http://{HOST}:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Break all connections, without a farewell of theirs, and let none through until `mend`."""
        self._broken = True
        self._run(self._abort())

    def mend(self) -> None:
        self._broken = False

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = None if self._broken else await self._connect()
        if there is None:
            writer.transport.abort()
            return
        ends = {writer, there[1]}
        self._ends |= ends
        try:
            await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))
        finally:
            for end in ends:
                end.transport.abort()
            self._ends -= ends

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for port in self.ports:
            try:
                return await asyncio.open_connection(HOST, port)
            except OSError:
                continue
        return None

    async def _abort(self) -> None:
        for end in self._ends:
            end.transport.abort()

    async def _end(self) -> None:
        self._broken = True
        # CPython 3.11 leaves open what a server has accepted in the turn of the loop in which it is closed.
        for listening in self._server.sockets:
            self._loop.remove_reader(listening)
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await self._abort()
            await asyncio.wait(others, timeout=0.1)
        self._server.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes one way, until either side has gone; then the other learns it."""
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
