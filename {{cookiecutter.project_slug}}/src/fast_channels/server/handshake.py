"""The opening handshake, which is uvicorn's own; then a leaner object takes the connection over.

Requests, refusals, ``websocket.http.response``, failures before the accept: all that is the class
``WebSocketsSansIOProtocol``, and ``ServerProtocol`` of the ``websockets`` library below it. What is
done here: the application gets the ``receive`` and ``send`` of a ``Connection`` from the beginning,
and after the accept that connection replaces this object on the transport.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.extensions import ServerExtensionFactory

from .connection import Application, Connection
from .hub import hub_of
from .request import parse, share_names


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """For ``uvicorn --ws fast_channels.server:WebSocketProtocol``; compression is never negotiated.

    ``ws_max_size``, ``ws_max_queue``, ``ws_ping_interval`` and ``ws_ping_timeout`` mean what they
    mean to uvicorn; ``ws_max_queue`` is the number of messages that are read ahead.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn.available_extensions = self.extensions()
        self.connection = Connection(hub_of(config, server_state, self.loop), self)
        # uvicorn's class puts its events, such as the first, where the application receives ours.
        self.queue = cast(Any, self.connection.inbox)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """uvicorn's HTTP side, which has the transport until now, knows the addresses already."""
        http: Any = cast(asyncio.Transport, transport).get_protocol()
        if getattr(http, "client", None) is None:
            super().connection_made(transport)
            return
        self.connections.add(self)
        self.transport = cast(asyncio.Transport, transport)
        self.server, self.client = http.server, http.client
        self.scheme = "wss" if http.scheme == "https" else "ws"

    def extensions(self) -> Sequence[ServerExtensionFactory]:
        """What is accepted of the extensions that a client offers."""
        return ()

    @property
    def is_open(self) -> bool:
        """Whether the accept has been sent."""
        return self.handshake_complete and not self.close_sent and not self.disconnected

    def run_asgi(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
    ) -> Coroutine[Any, Any, None]:
        self.scope["headers"] = share_names(list(self.scope["headers"]))
        return self.connection.run(cast(Application, self.app), cast(Any, self.scope))

    @property
    def on_task_complete(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
    ) -> Callable[[asyncio.Task[None]], None]:
        # The task outlives this object: a method of it as callback would keep it alive.
        return self.tasks.discard

    def data_received(self, data: bytes) -> None:
        if self.handshake_initiated:
            self.connection.early(self.transport, data)
        elif (request := parse(data)) is not None:
            self.handle_connect(request)
        else:
            super().data_received(data)
            if not self.handshake_initiated:  # not a request that may become a WebSocket
                self.transport.close()

    def start_keepalive(self) -> None:
        """The connection does it."""

    def refuse(self) -> None:
        """The application ended without an accept."""
        self.send_500_response()
        self.transport.close()

    def hand_over(self, connection: Connection) -> None:
        """Let the connection take this object's place, and be forgotten."""
        self.connections.discard(self)
        connection.hub.connections.add(connection)
        self.transport.set_protocol(connection)
        self.conn.parser.close()  # or its suspended frames would keep this object alive
