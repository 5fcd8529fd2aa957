"""What goes out on one connection: frames of one loop turn in one write, and flow control.

Invariants
- Frames leave in the order in which they were queued, whatever their kind.
- While the transport is paused no message is queued: ``send`` waits. So a connection holds at most
  ``OUTBOX`` bytes, one message and the transport's buffer for a client that reads nothing.
- A pong while paused replaces the one before (RFC 6455, 5.5.3 allows to answer the latest ping).
"""

import asyncio

from .frames import PONG, FrameCache, frame
from .hub import Hub

OUTBOX = 64 * 1024  # bytes; more than this is written before the loop turn is over


class Outgoing(asyncio.Protocol):
    """The sending half; ``ready`` says that a message may be queued now."""

    __slots__ = (
        "_blocked",
        "_outbox",
        "_paused",
        "_pong",
        "_queued",
        "frames",
        "hub",
        "open",
        "ready",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.frames: FrameCache = hub.frames
        self.open = False
        self.ready = False
        self._paused = False
        self._outbox: list[bytes] = []
        self._queued = 0
        self._pong: bytes | None = None
        self._blocked: list[asyncio.Future[None]] | None = None

    def queue(self, data: bytes) -> None:
        """Send a frame with what else is sent in this loop turn."""
        outbox = self._outbox
        if not outbox:
            self.hub.mark(self)
        outbox.append(data)
        self._queued += len(data)
        if self._queued > OUTBOX:
            self.flush()

    def flush(self) -> None:
        """Write what is queued."""
        outbox = self._outbox
        if outbox:
            if not self.transport.is_closing():
                self.transport.write(outbox[0] if len(outbox) == 1 else b"".join(outbox))
            outbox.clear()
            self._queued = 0

    def pong(self, payload: bytes) -> None:
        """Answer a ping."""
        if self._paused:
            self._pong = payload
        else:
            self.queue(frame(PONG, payload))

    # Flow control

    def pause_writing(self) -> None:
        self._paused = True
        self.ready = False

    def resume_writing(self) -> None:
        self._paused = False
        self.ready = self.open
        if self._pong is not None and self.open:
            self.queue(frame(PONG, self._pong))
        self._pong = None
        self._release()

    async def writable(self) -> None:
        """Wait until the client has read enough, or is gone."""
        while self._paused and self.open:
            if self._blocked is None:
                self._blocked = []
            waiter = self.hub.loop.create_future()
            self._blocked.append(waiter)
            await waiter

    def end(self) -> None:
        """No message is sent any more; whoever waits to send one is told so."""
        self.open = self.ready = False
        self._release()

    def _release(self) -> None:
        blocked, self._blocked = self._blocked, None
        for waiter in blocked or ():
            if not waiter.done():
                waiter.set_result(None)
