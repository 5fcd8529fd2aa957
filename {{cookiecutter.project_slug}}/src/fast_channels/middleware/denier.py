"""An application that refuses every WebSocket."""

from typing import Any, Self

from ..type_defs import Receive, Scope, Send


class WebsocketDenier:
    """Closes the WebSocket before it is accepted; a server answers HTTP 403.

    Used like a consumer: the class, an instance, or what `as_asgi()` returns.
    """

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> Self:
        return cls(**initkwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise ValueError(f"WebsocketDenier takes a websocket connection, not {scope['type']!r}")
        # The connect event comes first, whatever the application decides.
        await receive()
        await send({"type": "websocket.close"})
