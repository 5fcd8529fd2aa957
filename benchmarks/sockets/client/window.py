"""Messages in a window: the next one is sent when the oldest has reached every receiver.

In bursts, a whole window is sent when the last one has.
"""

import asyncio
from collections.abc import Callable

from .tally import Tally

STALLED_AFTER = 1.0  # seconds without any arrival: what is under way is given up as lost


class Window:
    """Keeps ``size`` messages under way until ``stop()``; ``drained`` is done when none is left."""

    def __init__(
        self, tally: Tally, size: int, send: Callable[[bytes], None], *, bursts: bool = False
    ) -> None:
        self.tally = tally
        self.size = size
        self.send = send
        self.bursts = bursts
        self.missing: dict[int, int] = {}  # number of a message under way → arrivals still to come
        self.stopped = False
        self.loop = asyncio.get_running_loop()
        self.drained: asyncio.Future[None] = self.loop.create_future()
        self.last_received = 0
        tally.on_arrival = self.arrived

    def start(self) -> None:
        self.fill()
        self.watchdog = self.loop.call_later(STALLED_AFTER, self.watch)

    def stop(self) -> None:
        self.stopped = True
        self.fill()

    def arrived(self, seq: int) -> None:
        missing = self.missing.get(seq)
        if missing is None:  # given up before, and late
            return
        if missing > 1:
            self.missing[seq] = missing - 1
        else:
            del self.missing[seq]
            if not self.bursts or not self.missing:
                self.fill()

    def fill(self) -> None:
        oldest = next(iter(self.missing), self.tally.sent)
        burst: list[bytes] = []
        while not self.stopped and self.tally.sent < oldest + self.size:
            self.missing[self.tally.sent] = self.tally.receivers
            frame = self.tally.next_frame()
            if self.bursts:
                burst.append(frame)
            else:
                self.send(frame)
        if burst:
            self.send(b"".join(burst))
        if self.stopped and not self.missing and not self.drained.done():
            self.drained.set_result(None)
            self.watchdog.cancel()

    def watch(self) -> None:
        self.watchdog = self.loop.call_later(STALLED_AFTER, self.watch)
        if self.tally.received == self.last_received:
            self.missing.clear()
            self.fill()
        self.last_received = self.tally.received
