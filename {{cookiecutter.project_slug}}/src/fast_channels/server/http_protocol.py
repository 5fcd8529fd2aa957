"""uvicorn's HTTP with a bound for requests that never end, and for clients that read nothing.

httptools keeps a header until its end, however long: 150 MiB of one take 285 MiB and hold every
socket up for 13 s. And uvicorn waits for the rest of a request, and for room to write, as long as the
connection lasts.

Invariants
- At most ``MAX_PENDING`` bytes and one read come between two steps of a request: its head, a piece of
  its body, its end. So heads, trailers and the sizes of chunks are bounded.
- A request's head, and a body that nobody waits for any more, have ``REQUEST_TIMEOUT`` seconds. A body
  that the application waits for is bounded by ``fast_channels.middleware.BodyLimit``.
- While there is no room to write, the client takes something every ``WRITE_TIMEOUT`` seconds, or is cut off
  before that time is over twice. Slow is not silent: one acknowledged byte is enough.
"""

import asyncio
import math
import sys
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .request import response

if sys.platform != "win32":
    import fcntl
    import termios

MAX_PENDING = 64 * 1024  # bytes, as h11's default
REQUEST_TIMEOUT = 20.0  # seconds
WRITE_TIMEOUT = 60.0


class HttpProtocol(HttpToolsProtocol):
    """For ``uvicorn --http fast_channels.server.http_protocol:HttpProtocol``."""

    _pending = 0  # bytes since the last step
    _in_head = False
    _in_request = False
    _timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._limit_time(True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._limit_time(False)
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._pending += len(data)
        super().data_received(data)
        if self._pending > MAX_PENDING:
            sentence = f"The request's headers are longer than {MAX_PENDING} bytes."
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, sentence)

    def _limit_time(self, on: bool) -> None:
        """Whether the client's time for the rest of its request runs; it begins anew."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(REQUEST_TIMEOUT, self._expired) if on else None

    def _expired(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The request did not come to its end in time.")

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        if self.transport.is_closing():
            return
        if self._in_head and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(response(status, sentence.encode()))
        self.transport.close()

    # Steps of a request

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = self._in_request = True
        self._limit_time(True)

    def on_headers_complete(self) -> None:
        self._pending = 0
        self._in_head = False
        self._limit_time(False)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._pending = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._pending = 0
        self._in_request = False
        self._limit_time(False)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._limit_time(self._in_request)

    # A client that reads nothing

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_progress(math.inf)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()

    def _expect_progress(self, before: float) -> None:
        """Count what the client has not acknowledged; it has to be less than ``before``.

        The kernel holds up to 4 MiB of it, and takes more only when a third has gone; where it does not
        tell, slow may be taken for silent.
        """
        untaken = self.transport.get_write_buffer_size()
        if sys.platform != "win32":
            file = self.transport.get_extra_info("socket").fileno()
            with suppress(OSError):
                kept = fcntl.ioctl(file, termios.TIOCOUTQ, bytes(4))
                untaken += int.from_bytes(kept, sys.byteorder)
        if untaken < before:
            self._write_timer = self.loop.call_later(WRITE_TIMEOUT, self._expect_progress, untaken)
        else:
            self.transport.abort()
