"""An endpoint of FastAPI's or Starlette's hands its socket over. Knows no consumer.

Invariants
- Of Starlette's WebSocket only what is documented is used: ``scope``, ``receive()``, ``send()`` and its two
  states. Starlette is not imported; whoever passes a WebSocket has done so.
- What is handed over behaves as a server: a client that has left is an OSError to whoever sends.
- A socket is handed over once, before anything was received from it or sent to it.
"""

import inspect
import sys
from typing import Any, Protocol

from ..type_defs import Event, Receive, Scope, Send

ABNORMAL_CLOSURE = 1006  # no close frame has come (RFC 6455, 7.1.5)


class Socket(Protocol):
    """A ``starlette.websockets.WebSocket``."""

    scope: Scope
    client_state: Any
    application_state: Any

    async def receive(self) -> Event: ...

    async def send(self, message: Event, /) -> None: ...


def events_of(websocket: Socket) -> tuple[Scope, Receive, Send]:
    """What a server gives to an application; ``RuntimeError`` if the socket was answered already."""
    for state in (websocket.client_state, websocket.application_state):
        if state.name != "CONNECTING":
            raise RuntimeError(
                f"A consumer accepts or refuses its socket itself: it needs a CONNECTING WebSocket, "
                f"not one that is {state.name}"
            )

    async def send(event: Event) -> None:
        try:
            await websocket.send(event)
        except Exception as error:
            # Starlette's WebSocketDisconnect, in the place of the server's OSError.
            if getattr(error, "code", None) != ABNORMAL_CLOSURE:
                raise
            raise ConnectionResetError("The client has left") from error

    return websocket.scope, websocket.receive, send


class EndpointSignature:
    """``inspect.signature`` of an ASGI application, as FastAPI reads it: it takes a WebSocket."""

    def __get__(self, app: object, owner: type) -> inspect.Signature:
        starlette = sys.modules.get("starlette.websockets")
        if app is None or starlette is None:
            raise AttributeError("__signature__")
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Signature([inspect.Parameter("scope", kind, annotation=starlette.WebSocket)])
