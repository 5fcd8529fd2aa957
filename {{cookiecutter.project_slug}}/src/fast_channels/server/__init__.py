"""A WebSocket protocol for uvicorn: ``uvicorn --ws fast_channels.server:WebSocketProtocol``.

The same behaviour as uvicorn's own, for less: a text that goes to many sockets is framed once, a
socket's frames of one loop turn leave in one write, and an idle socket keeps little memory. The
only part of this package that needs uvicorn and websockets.
"""

from .connection import CompressedWebSocketProtocol, WebSocketProtocol

__all__ = ["CompressedWebSocketProtocol", "WebSocketProtocol"]
