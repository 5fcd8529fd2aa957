"""The opening handshake as uvicorn and ``websockets`` do it, for whatever is not plain.

A request that has to be refused or has extensions to negotiate; an application that refuses, responds
by ``websocket.http.response`` or ends without an answer; a shutdown before the accept: all that is
the class ``WebSocketsSansIOProtocol``, and ``ServerProtocol`` of the ``websockets`` library below it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from .connection import Application, Connection
from .request import refusal, share_names

if TYPE_CHECKING:
    from .handshake import WebSocketProtocol


class StandardHandshake(WebSocketsSansIOProtocol):
    """Takes the place of ``opening``, whose application it starts unless that is ``running``."""

    def __init__(self, opening: "WebSocketProtocol", *, running: bool) -> None:
        super().__init__(opening.config, opening.server_state, opening.app_state, opening.loop)
        self.opening = opening
        self.connection: Connection = opening.connection
        self.running = running
        self.conn.available_extensions = opening.extensions()
        self.transport = opening.transport
        self.server, self.client, self.scheme = opening.server, opening.client, opening.scheme
        self.connections.add(self)

    def start(self, request: bytes) -> None:
        """Handle the request. uvicorn's class puts its events where the application receives ours."""
        inbox = cast(Any, self.connection.inbox)
        if not self.running:  # who is running has had the first event
            self.queue = inbox
        super().data_received(request)
        self.queue = inbox
        if not self.handshake_initiated:  # not a request that may become a WebSocket
            answer = b"".join(self.conn.data_to_send())
            reason = "A request for a WebSocket must be well formed and have no body."
            self.transport.write(answer or refusal(HTTPStatus.BAD_REQUEST, reason))
            self.transport.close()
        if not self.running and not hasattr(self, "scope"):  # no application was started
            self.connection.release()

    @property
    def is_open(self) -> bool:
        """Whether the accept has been sent."""
        return self.handshake_complete and not self.close_sent and not self.disconnected

    @property
    def paused(self) -> bool:
        return not self.writable.is_set()

    def run_asgi(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
    ) -> Coroutine[Any, Any, None]:
        if self.running:
            return _nothing()
        self.scope["headers"] = share_names(list(self.scope["headers"]))
        return self.connection.run(cast(Application, self.app), cast(Any, self.scope))

    @property
    def on_task_complete(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
    ) -> Callable[[asyncio.Task[None]], None]:
        # The task outlives this object: a method of it as callback would keep it alive.
        return self.tasks.discard

    def data_received(self, data: bytes) -> None:
        self.connection.early(data)

    def start_keepalive(self) -> None:
        """The connection does it."""

    def refuse(self) -> None:
        """The application ended without an accept."""
        if not self.close_sent:
            self.initial_response = None  # one that broke off; nothing of it has been sent
        self.send_500_response()
        self.transport.close()

    def hand_over(self, connection: Connection) -> None:
        """The connection takes this object's place."""
        self.connections.discard(self)
        self.opening.agreed(connection, self.conn.extensions)
        self.conn.parser.close()  # or its suspended frames would keep this object alive


async def _nothing() -> None:
    pass
