"""The opening handshake: a plain request and a plain accept here, all others in ``standard.py``.

Nearly all handshakes are plain, and uvicorn's class with the ``ServerProtocol`` that it makes for one
takes longer than all else in a short connection. A handshake that is not plain, which may turn out as
late as in the application's answer, starts again in ``StandardHandshake``.

Invariants
- Nothing is sent before it is known which of the two answers the request.
- After the accept the ``Connection`` has the transport, and nothing of the handshake stays.
"""

import asyncio
import logging
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Literal, cast
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.protocols.utils import (
    ClientDisconnected,
    get_client_addr,
    get_local_addr,
    get_path_with_query_string,
    get_remote_addr,
    is_ssl,
)
from uvicorn.server import ServerState
from websockets.extensions import Extension, ServerExtensionFactory
from websockets.utils import accept_key

from ..type_defs import Event
from .connection import Application, Connection
from .hub import hub_of
from .inbox import disconnect
from .request import TOKEN, OpeningRequest, parse, refusal
from .standard import StandardHandshake

ABNORMAL_CLOSURE = 1006
# Of --limit-concurrency: the rest is left for HTTP, so that full is not taken for dead by a health check.
SOCKETS_SHARE = 0.9
# In a header's value; a line break among them would let a client's text become a header.
CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class WebSocketProtocol(asyncio.Protocol):
    """For ``uvicorn --ws fast_channels.server:WebSocketProtocol``; compression is never negotiated.

    ``ws_max_size``, ``ws_max_queue``, ``ws_ping_interval`` and ``ws_ping_timeout`` mean what they
    mean to uvicorn; ``ws_max_queue`` is the number of messages that are read ahead. ``ws_max_size`` is
    64 KiB where uvicorn has its default. With ``limit_concurrency``, sockets take nine tenths of it at
    most: uvicorn itself counts them, but refuses none.
    """

    transport: asyncio.Transport

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.config = config
        self.server_state = server_state
        self.app_state = app_state
        self.loop = _loop or asyncio.get_running_loop()
        self.connection: Connection = Connection(hub_of(config, server_state, self.loop), self)
        self.server: tuple[str, int | None] | None = None
        self.client: tuple[str, int] | None = None
        self.scheme: Literal["wss", "ws"] = "ws"
        self.head = b""
        self.key = ""
        self.scope: dict[str, Any] = {}
        self.is_open = False
        self.paused = False
        self.handshake_complete = False

    def extensions(self) -> Sequence[ServerExtensionFactory]:
        """What is accepted of the extensions that a client offers."""
        return ()

    def agreed(self, connection: Connection, extensions: Sequence[Extension]) -> None:
        """These extensions were negotiated."""

    # From the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = self.connection.transport = cast(asyncio.Transport, transport)
        self.server_state.connections.add(cast(Any, self))
        http: Any = self.transport.get_protocol()
        if getattr(http, "client", None) is not None:  # uvicorn's HTTP side has asked already
            self.server, self.client = http.server, http.client
            self.scheme = "wss" if http.scheme == "https" else "ws"
        else:
            self.server = get_local_addr(self.transport)
            self.client = get_remote_addr(self.transport)
            self.scheme = "wss" if is_ssl(self.transport) else "ws"

    def data_received(self, data: bytes) -> None:
        if self.head:
            self.connection.early(data)
            return
        self.head = data
        limit = self.config.limit_concurrency
        if limit is not None and len(self.server_state.connections) > limit * SOCKETS_SHARE:
            self.transport.write(refusal(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections."))
            self.transport.close()
            self.connection.release()
            return
        request = parse(data)
        if request is None or (request.offers_extensions and self.extensions()):
            self._give_way(running=False)
        else:
            self._start(request)

    def connection_lost(self, exc: Exception | None) -> None:
        self.handshake_complete = True
        self.server_state.connections.discard(cast(Any, self))
        self.connection.inbox.put_nowait(disconnect(ABNORMAL_CLOSURE))

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def shutdown(self) -> None:
        """uvicorn stops."""
        self._give_way(running=True).shutdown()

    # The application

    def _start(self, request: OpeningRequest) -> None:
        """Run the application; the scope is that of uvicorn's own protocol."""
        root = self.config.root_path
        raw_path, _, query = request.target.partition("?")
        self.key = request.key
        self.scope = {
            "type": "websocket",
            "asgi": {"version": self.config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": self.scheme,
            "server": self.server,
            "client": self.client,
            "root_path": root,
            "path": root + unquote(raw_path),
            "raw_path": (root + raw_path).encode("ascii"),
            "query_string": query.encode("ascii"),
            "headers": request.headers,
            "subprotocols": request.subprotocols,
            "state": self.app_state.copy(),
            "extensions": {"websocket.http.response": {}},
        }
        self.connection.inbox.put_nowait({"type": "websocket.connect"})
        app = cast(Application, self.config.loaded_app)
        task = self.loop.create_task(self.connection.run(app, self.scope))
        task.add_done_callback(self.server_state.tasks.discard)
        self.server_state.tasks.add(task)

    async def send(self, event: Event) -> None:
        """What the application sends before it is connected."""
        if self.handshake_complete:
            raise ClientDisconnected
        response = None if self.transport.is_closing() else self._response(event)
        if response is None:
            await self._give_way(running=True).send(cast(Any, event))
            return
        logger = self.connection.hub.logger
        if logger.isEnabledFor(logging.INFO):
            logger.info(
                '%s - "WebSocket %s" [accepted]',
                get_client_addr(cast(Any, self.scope)),
                get_path_with_query_string(cast(Any, self.scope)),
            )
        self.connection.queue(response)
        self.is_open = True

    def _response(self, event: Event) -> bytes | None:
        """To an accept; None for whatever else the application sends."""
        if event["type"] != "websocket.accept":
            return None
        headers = [*self.server_state.default_headers, *(event.get("headers") or ())]
        if subprotocol := event.get("subprotocol"):
            headers.append((b"sec-websocket-protocol", subprotocol.encode("latin-1")))
        lines = [
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade",
            b"sec-websocket-accept: %b" % accept_key(self.key).encode(),
        ]
        for name, value in headers:
            if TOKEN.fullmatch(name) is None or CONTROLS.search(value) is not None:
                raise ValueError(f"Not a header that may be sent: {name!r}: {value!r}")
            lines.append(b"%b: %b" % (name.lower(), value))
        return b"\r\n".join((*lines, b"", b""))

    def refuse(self) -> None:
        """The application ended without an accept."""
        if not self.handshake_complete:
            self._give_way(running=True).refuse()

    # Who comes after

    def _give_way(self, *, running: bool) -> StandardHandshake:
        """Start again by the standard; the application may be ``running`` already."""
        standard = StandardHandshake(self, running=running)
        self.server_state.connections.discard(cast(Any, self))
        self.connection.handshake = standard
        self.transport.set_protocol(standard)
        if not running:  # uvicorn's HTTP side sets this object once more when it has our return
            self.loop.call_soon(self.transport.set_protocol, standard)
        standard.start(self.head)
        return standard

    def hand_over(self, connection: Connection) -> None:
        """The connection takes this object's place."""
        self.server_state.connections.discard(cast(Any, self))
