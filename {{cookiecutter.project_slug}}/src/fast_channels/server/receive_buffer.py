"""What the client has sent and the application has not received yet, bounded.

It knows no frames: events come in, and the connection that fills it is told when to go on.

Invariants
- Events are received in the order in which they were put; the final one, a disconnect, last.
- Nothing is put after the final event; a further receive gets it again.
- ``full`` says that reading has to stop; the source is told once when there is room again.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..type_defs import Event

MAX_BYTES = 256 * 1024  # of queued payload; with ws_max_queue messages the bound of a connection
TURNS = 40  # of the loop: a consumer reads 17 frames ahead, and takes up to two turns for each


class Source(Protocol):
    def resume_reading(self) -> None: ...


@dataclass(eq=False, repr=False, slots=True)
class ReceiveBuffer:
    """The ``receive`` of one connection."""

    _loop: asyncio.AbstractEventLoop
    _limit: int
    source: Source | None  # None when there is nothing more to read
    full: bool = False
    final: dict[str, Any] | None = None
    on_empty: Callable[[], None] | None = None  # called before a receive that finds nothing
    _events: list[tuple[Event, int]] = field(default_factory=list)
    _size: int = 0
    _waiters: "list[asyncio.Future[None]]" = field(default_factory=list)

    def put(self, event: Event, size: int = 0) -> None:
        """Add an event, a message of this many bytes, or characters."""
        if self.final is not None:
            return
        self._events.append((event, size))
        self._size += size
        if len(self._events) >= self._limit or self._size >= MAX_BYTES:
            self.full = True
        if self._waiters:
            self._wake()

    def end(self, code: int, reason: str | None = None) -> None:
        """Add the final event, a disconnect, if there is none yet."""
        if self.final is None:
            self.final = {"type": "websocket.disconnect", "code": code}
            if reason is not None:
                self.final["reason"] = reason
            self._wake()

    async def receive(self) -> Event:
        """The next event, waiting for it."""
        events = self._events
        while not events:
            if self.on_empty is not None:
                await self._give_way()
            if self.final is not None:
                return self.final
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                raise
        event, size = events.pop(0)
        self._size -= size
        # Half of the limits have to be free before the source goes on.
        if self.full and len(events) <= self._limit // 2 and self._size <= MAX_BYTES // 2:
            self.full = False
            if self.source is not None:
                self.source.resume_reading()
        return event

    async def _give_way(self) -> None:
        """Let an application that reads ahead answer what it has, before it hears of the close."""
        for _ in range(TURNS):
            await asyncio.sleep(0)
        if self.on_empty is not None:
            self.on_empty()

    @property
    def is_empty(self) -> bool:
        return not self._events

    def _wake(self) -> None:
        # All of them, should several tasks receive: one that finds nothing waits again.
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
