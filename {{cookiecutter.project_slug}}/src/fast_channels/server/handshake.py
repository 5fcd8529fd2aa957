"""The opening handshake: what uvicorn puts on the transport, until the application has answered.

Invariants
- At most one response is sent. The receive buffer's final event says that it is, or that nobody waits
  for it any more.
- After an accept the ``Connection`` has the transport; after any other response, or when the
  application has ended, the connection is released. Then nothing refers to this object.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar, cast
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.protocols import utils
from uvicorn.server import ServerState
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import CloseCode

from ..type_defs import Event, Headers
from .connection import NO_MORE, Application, Connection, Phase, unexpected
from .frames import DEFLATE, MINIMUM
from .receive_buffer import disconnect
from .request import OpeningRequest, acceptance, head, read, response
from .shared import shared_state

# Of --limit-concurrency: the rest is left for HTTP, so that full is not taken for dead by a health check.
SOCKETS_SHARE = 0.9


@dataclass(eq=False, repr=False)
class WebSocketProtocol(asyncio.Protocol):
    """For ``uvicorn --ws fast_channels.server:WebSocketProtocol``; compression is never negotiated.

    ``ws_max_size``, ``ws_max_queue``, ``ws_ping_interval`` and ``ws_ping_timeout`` mean what they
    mean to uvicorn; ``ws_max_queue`` is the number of messages that are read ahead. ``ws_max_size`` is
    64 KiB where uvicorn has its default. With ``limit_concurrency``, sockets take nine tenths of it at
    most: uvicorn itself counts them, but refuses none.
    """

    minimum: ClassVar[int | None] = None  # bytes of a message from which on it is compressed

    config: Config
    server_state: ServerState
    app_state: dict[str, Any]
    transport: asyncio.Transport = field(init=False)
    request: OpeningRequest = field(init=False)
    # Empty until the request is there.
    scope: Any = field(init=False, default_factory=dict)
    _denial: tuple[int, Headers, bytearray] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.shared = shared_state(self.config, self.server_state, asyncio.get_running_loop())
        self.connection = Connection(self.shared, self)

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = self.connection.transport = cast(asyncio.Transport, transport)
        self.shared.connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self.scope:
            self.connection.keep_early(data)
        elif not self._answered:
            request = self._read(data)
            if isinstance(request, OpeningRequest):
                self._start(request)
            else:
                self._respond(request)
                self.connection.release()

    def _read(self, data: bytes) -> OpeningRequest | bytes:
        """The request, or the response that refuses it."""
        limit = self.config.limit_concurrency
        if limit is not None and len(self.shared.connections) > limit * SOCKETS_SHARE:
            return response(HTTPStatus.SERVICE_UNAVAILABLE, b"Too many connections.")
        compresses = self.minimum is not None and self.config.ws_per_message_deflate
        return read(data, (DEFLATE,) if compresses else ())

    def connection_lost(self, exc: Exception | None) -> None:
        self._client_is_gone()
        self.shared.connections.discard(self)

    def _client_is_gone(self) -> None:
        self.connection.phase = Phase.LOST
        self.connection.receive_buffer.put(disconnect(CloseCode.ABNORMAL_CLOSURE))

    def pause_writing(self) -> None:
        self.connection.pause_writing()

    def resume_writing(self) -> None:
        self.connection.resume_writing()

    def shutdown(self) -> None:
        """uvicorn stops."""
        self._respond_with_error()
        self._client_is_gone()

    # The application

    def _start(self, request: OpeningRequest) -> None:
        """Run the application; the scope is that of uvicorn's own protocol."""
        root = self.config.root_path
        raw_path, _, query = request.target.partition("?")
        self.request = request
        self.scope = {
            "type": "websocket",
            "asgi": {"version": self.config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if utils.is_ssl(self.transport) else "ws",
            "server": utils.get_local_addr(self.transport),
            "client": utils.get_remote_addr(self.transport),
            "root_path": root,
            "path": root + unquote(raw_path),
            "raw_path": (root + raw_path).encode("ascii"),
            "query_string": query.encode("ascii"),
            "headers": request.headers,
            "subprotocols": request.subprotocols,
            "state": self.app_state.copy(),
            "extensions": {"websocket.http.response": {}},
        }
        self.connection.receive_buffer.put({"type": "websocket.connect"})
        app = cast(Application, self.config.loaded_app)
        task = self.shared.loop.create_task(self.connection.run(app, self.scope))
        task.add_done_callback(self.server_state.tasks.discard)
        self.server_state.tasks.add(task)

    @property
    def _answered(self) -> bool:
        return self.connection.receive_buffer.final is not None

    def send(self, event: Event) -> None:
        """What the application sends before it is connected.

        ``ClientDisconnected`` if the client has gone, ``RuntimeError`` for an event that does not
        fit, ``ValueError`` for a header that may not be sent.
        """
        kind = event["type"]
        answered = self._answered
        if self.connection.phase is Phase.LOST or (self.transport.is_closing() and not answered):
            raise utils.ClientDisconnected
        if answered:
            raise unexpected(event, NO_MORE)
        if self._denial is not None:
            self._continue_denial(event, *self._denial)
        elif kind == "websocket.accept":
            self._accept(event)
        elif kind == "websocket.close":
            self._refuse(HTTPStatus.FORBIDDEN, b"")
        elif kind == "websocket.http.response.start":
            self._begin_denial(event)
        else:
            first = "'websocket.accept', 'websocket.close' or 'websocket.http.response.start'"
            raise unexpected(event, first)

    def _accept(self, event: Event) -> None:
        """The connection takes this object's place."""
        headers = [*self.server_state.default_headers, *(event.get("headers") or ())]
        if subprotocol := event.get("subprotocol"):
            headers.append((b"sec-websocket-protocol", subprotocol.encode("latin-1")))
        self.connection.send_frame(acceptance(self.request, headers))
        self._log("[accepted]")
        self.shared.connections.discard(self)
        if self.request.extensions and self.minimum is not None:
            window = cast(PerMessageDeflate, self.request.extensions[0]).local_max_window_bits
            self.connection.extensions = self.request.extensions
            self.connection.frames = self.shared.deflated_frames(window, self.minimum)
        self.connection.begin()

    def _begin_denial(self, event: Event) -> None:
        status, headers = event["status"], list(event.get("headers", ()))
        if not 100 <= status < 600:
            raise RuntimeError(f"Invalid HTTP status code '{status}' in response.")
        head(b"", headers)
        self._denial = status, headers, bytearray()

    def _continue_denial(
        self, event: Event, status: int, headers: Headers, body: bytearray
    ) -> None:
        if event["type"] != "websocket.http.response.body":
            raise unexpected(event, "'websocket.http.response.body'")
        body += event["body"]
        if not event.get("more_body", False):
            self._refuse(status, bytes(body), headers)

    def _refuse(
        self, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        self._log(int(status))
        self._respond(response(status, body, headers))

    def _respond(self, answer: bytes) -> None:
        """Send a response that is no accept, and close."""
        self.connection.receive_buffer.put(disconnect(CloseCode.ABNORMAL_CLOSURE))
        self.transport.write(answer)
        self.transport.close()

    def _respond_with_error(self) -> None:
        if not self._answered:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, b"Internal Server Error")

    def refuse(self) -> None:
        """The application has ended, and has not accepted."""
        self._respond_with_error()
        self.connection.release()

    def _log(self, outcome: object) -> None:
        logger = self.shared.logger
        if logger.isEnabledFor(logging.INFO):
            client, path = (
                utils.get_client_addr(self.scope),
                utils.get_path_with_query_string(self.scope),
            )
            logger.info('%s - "WebSocket %s" %s', client, path, outcome)


class CompressedWebSocketProtocol(WebSocketProtocol):
    """For ``uvicorn --ws fast_channels.server:CompressedWebSocketProtocol``.

    Compression is used with clients that offer it, unless uvicorn's ``ws_per_message_deflate`` is
    off. A subclass may set ``minimum``, in bytes.
    """

    minimum = MINIMUM
