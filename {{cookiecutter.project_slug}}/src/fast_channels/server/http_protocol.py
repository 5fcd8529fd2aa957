"""uvicorn's HTTP with a bound for requests that never end.

``uvicorn --http fast_channels.server.http_protocol:HttpProtocol``.

httptools keeps a header until its end, however long: 150 MiB of one take 285 MiB and hold every
socket up for 13 s. And uvicorn waits for the rest of a request as long as the connection lasts.
It knows nothing of WebSockets but what all connections of a server share.

Invariants
- At most ``MAX_PENDING`` bytes and one read come between two steps of a request: its head, a piece of
  its body, its end. So heads, trailers and the sizes of chunks are bounded.
- A request's head, and a body that nobody waits for any more, have ``REQUEST_TIMEOUT`` seconds. A body
  that the application waits for is bounded by ``fast_channels.middleware.BodyLimit``.
"""

from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .request import response
from .shared import Deadlines, Requester, shared_state

MAX_PENDING = 64 * 1024  # bytes, as h11's default


class HttpProtocol(HttpToolsProtocol):
    """For ``uvicorn --http fast_channels.server.http_protocol:HttpProtocol``."""

    _pending = 0  # bytes since the last step
    _in_head = False
    _in_request = False

    @property
    def _deadlines(self) -> Deadlines[Requester]:
        return shared_state(self.config, self.server_state, self.loop).requests

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._deadlines.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadlines.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._pending += len(data)
        super().data_received(data)
        if self._pending > MAX_PENDING and not self.transport.is_closing():
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"The request's headers are longer than {MAX_PENDING} bytes.",
            )

    def request_expired(self) -> None:
        """The rest of the request has not come in time."""
        if not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The request did not come to its end in time.")

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        if self._in_head and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(response(status, sentence.encode()))
        self.transport.close()

    # Steps of a request

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = self._in_request = True
        self._deadlines.add(self)

    def on_headers_complete(self) -> None:
        self._pending = 0
        self._in_head = False
        self._deadlines.discard(self)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._pending = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._pending = 0
        self._in_request = False
        self._deadlines.discard(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_request:
            self._deadlines.add(self)
