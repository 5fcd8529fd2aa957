"""What the connections of one server share: its limits, the frames of a loop turn, deadlines.

It knows nothing of the bytes that a connection reads or writes.

Invariants
- A connection whose frames wait to be written is in ``dirty``, and a flush is scheduled.
- All items of one ``Deadlines`` have the same time, so they expire in the order in which they were
  added, and one timer of the loop is enough. A timer per connection costs about 350 bytes with
  uvloop, and a ping every 20 s keeps one armed for each.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from uvicorn.config import Config
from uvicorn.server import ServerState

from .frames import DeflatedFrames, FrameCache

T = TypeVar("T")

# Bytes of a message, unless --ws-max-size says otherwise. uvicorn's own default, which its Config does not
# tell from the same number given, lets three JSON texts take 430 MiB and hold everybody up for 3 s.
MAX_SIZE = 64 * 1024
UVICORNS_MAX_SIZE = 16 * 1024 * 1024
CLOSE_TIMEOUT = 10.0  # seconds for the client's answer to our close frame, as in uvicorn
PATIENCE = 2.0  # seconds for the application to take what came before the client's close frame
LINGER = 2.0  # seconds to read on after the last frame, so that a reset does not overtake it

# What expires within this part of the delay, or this time, expires together.
SLACK = 0.05
MAX_SLACK = 0.5  # seconds


class Deadlines(Generic[T]):
    """Calls ``expired(item)`` between ``delay`` and 1.05 x ``delay`` seconds after ``add(item)``.

    Without a delay, that is None or 0, nothing is ever added.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, delay: float | None, expired: Callable[[T], None]
    ) -> None:
        self._loop = loop
        self.delay = delay or 0.0
        self._slack = min(SLACK * self.delay, MAX_SLACK)
        self._expired = expired
        self._due: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, item: T) -> None:
        """Start the item's time, anew if it has begun."""
        if not self.delay:
            return
        self._due.pop(item, None)
        self._due[item] = self._loop.time() + self.delay
        if self._timer is None:
            self._timer = self._loop.call_later(self.delay + self._slack, self._expire_deadlines)

    def discard(self, item: T) -> bool:
        """Stop the item's time; whether it was running."""
        return self._due.pop(item, None) is not None

    def _expire_deadlines(self) -> None:
        self._timer = None
        now = self._loop.time()
        expired = []
        for item, due in self._due.items():
            if due > now:
                self._timer = self._loop.call_at(due + self._slack, self._expire_deadlines)
                break
            expired.append(item)
        for item in expired:
            # One that expires earlier in this loop may have stopped another's time.
            if self._due.pop(item, None) is not None:
                self._expired(item)


class Connection(Protocol):
    """One of the server's, as far as it is called here."""

    transport: asyncio.Transport

    def flush(self) -> None: ...
    def ping(self) -> None: ...
    def ping_unanswered(self) -> None: ...
    def answer_close(self) -> None: ...


class SharedState:
    """One per server, and with it per event loop."""

    def __init__(
        self, config: Config, server_state: ServerState, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.loop = loop
        self.connections: set[Any] = server_state.connections
        self.logger = logging.getLogger("uvicorn.error")
        self.max_size = MAX_SIZE if config.ws_max_size == UVICORNS_MAX_SIZE else config.ws_max_size
        self.max_queue = config.ws_max_queue
        self.frames = FrameCache()
        self.deflated: dict[tuple[int, int], FrameCache] = {}  # by window and minimum size
        self.dirty: list[Connection] = []
        # When a ping is due, and its answer.
        self.pings = Deadlines[Connection](loop, config.ws_ping_interval, lambda each: each.ping())
        self.pongs = Deadlines[Connection](
            loop, config.ws_ping_timeout, lambda each: each.ping_unanswered()
        )
        # When the client's answer to our close frame is due, and the application's to what came before one.
        self.close_answers = Deadlines[Connection](
            loop, CLOSE_TIMEOUT, lambda each: each.transport.abort()
        )
        self.last_answers = Deadlines[Connection](loop, PATIENCE, lambda each: each.answer_close())
        self.lingering = Deadlines[Connection](loop, LINGER, lambda each: each.transport.abort())

    def deflated_frames(self, window: int, minimum: int) -> FrameCache:
        """The cache of all sockets that have agreed on this window."""
        return self.deflated.setdefault((window, minimum), DeflatedFrames(window, minimum))

    def mark_dirty(self, connection: Connection) -> None:
        """Flush this connection when all that runs in this loop turn has run."""
        if not self.dirty:
            self.loop.call_soon(self._flush)
        self.dirty.append(connection)

    def _flush(self) -> None:
        """One write for each connection that has frames."""
        dirty = self.dirty
        self.dirty = []
        for connection in dirty:
            connection.flush()
        self.frames.forget()
        for frames in self.deflated.values():
            frames.forget()


_states: WeakKeyDictionary[ServerState, SharedState] = WeakKeyDictionary()


def shared_state(
    config: Config, server_state: ServerState, loop: asyncio.AbstractEventLoop
) -> SharedState:
    """What the connections of this server share, made for its first one."""
    state = _states.get(server_state)
    if state is None or state.loop is not loop:
        state = _states[server_state] = SharedState(config, server_state, loop)
    return state
