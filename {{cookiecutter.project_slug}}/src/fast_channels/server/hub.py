"""What the connections of one server share: its limits, the frames of this loop turn, deadlines.

Invariant: whoever has an outbox that is not empty is in ``dirty``, and a flush is scheduled.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from uvicorn.config import Config
from uvicorn.server import ServerState

from .deadlines import Deadlines
from .frames import FrameCache

# Bytes of a message, unless --ws-max-size says otherwise. uvicorn's own default, which its Config does not
# tell from the same number given, lets three JSON texts take 430 MiB and hold everybody up for 3 s.
MAX_SIZE = 64 * 1024
UVICORNS_MAX_SIZE = 16 * 1024 * 1024
CLOSE_TIMEOUT = 10.0  # seconds for the client's answer to our close frame, as in uvicorn
PATIENCE = 2.0  # seconds for the application to take what came before the client's close frame
REQUEST_TIMEOUT = 20.0  # seconds for the head of an HTTP request
LINGER = 2.0  # seconds to read on after the last frame, so that a reset does not overtake it


class Writer(Protocol):
    """Who has frames to write."""

    def flush(self) -> None: ...


class Peer(Protocol):
    """Who has deadlines."""

    def ping(self) -> None: ...

    def ping_unanswered(self) -> None: ...

    def answer_close(self) -> None: ...

    def abort(self) -> None: ...


class Requester(Protocol):
    """Who waits for a request."""

    def request_expired(self) -> None: ...


class Hub:
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
        self.dirty: list[Writer] = []
        self.pings = self._deadlines(config.ws_ping_interval, lambda peer: peer.ping())
        self.pongs = self._deadlines(config.ws_ping_timeout, lambda peer: peer.ping_unanswered())
        self.requests = Deadlines[Requester](
            loop, REQUEST_TIMEOUT, lambda requester: requester.request_expired()
        )
        self.closings = Deadlines[Peer](loop, CLOSE_TIMEOUT, lambda peer: peer.abort())
        self.leaving = Deadlines[Peer](loop, PATIENCE, lambda peer: peer.answer_close())
        self.lingering = Deadlines[Peer](loop, LINGER, lambda peer: peer.abort())

    def _deadlines(
        self, delay: float | None, expired: Callable[[Peer], None]
    ) -> Deadlines[Peer] | None:
        return Deadlines[Peer](self.loop, delay, expired) if delay else None

    def mark(self, writer: Writer) -> None:
        """Flush this writer when what runs in this loop turn has run."""
        if not self.dirty:
            self.loop.call_soon(self.flush)
        self.dirty.append(writer)

    def flush(self) -> None:
        """One write for each that has frames."""
        dirty = self.dirty
        self.dirty = []
        for writer in dirty:
            writer.flush()
        self.frames.forget()
        for frames in self.deflated.values():
            frames.forget()

    def leave(self, peer: Peer) -> None:
        """Stop all deadlines of this peer."""
        for deadlines in (self.pings, self.pongs, self.leaving, self.closings, self.lingering):
            if deadlines is not None:
                deadlines.discard(peer)


_hubs: WeakKeyDictionary[ServerState, Hub] = WeakKeyDictionary()


def hub_of(config: Config, server_state: ServerState, loop: asyncio.AbstractEventLoop) -> Hub:
    """The hub of a server, made for its first connection."""
    hub = _hubs.get(server_state)
    if hub is None or hub.loop is not loop:
        hub = _hubs[server_state] = Hub(config, server_state, loop)
    return hub
