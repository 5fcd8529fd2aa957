"""How a subject wants to be spoken to: bare WebSocket texts, or Socket.IO's packets.

Engine.IO 4 on its WebSocket transport: the first character of a text is the packet's type (0 open,
2 ping, 3 pong, 4 message); in a message the next one is Socket.IO's (0 connected, 2 event).
"""

import json
from typing import Any


class Plain:
    """A text is a message."""

    def url(self, room: str | None) -> str:
        return f"/room/{room}" if room is not None else "/echo"

    def encode(self, message: bytes, *, room: bool) -> bytes:
        return message

    def answer(self, text: bytes) -> bytes | None:
        """What a text that is no message must be answered with; None for a message."""
        return None

    def decode(self, text: bytes) -> Any:
        return json.loads(text)


class SocketIO(Plain):
    """Events named ``message`` go to the room, those named ``echo`` come back."""

    def url(self, room: str | None) -> str:
        query = f"&room={room}" if room is not None else ""
        return f"/socket.io/?EIO=4&transport=websocket{query}"

    def encode(self, message: bytes, *, room: bool) -> bytes:
        return b'42["%b",%b]' % (b"message" if room else b"echo", message)

    def answer(self, text: bytes) -> bytes | None:
        if text.startswith(b"42"):
            return None
        return {b"0": b"40", b"2": b"3"}.get(text[:1], b"")

    def decode(self, text: bytes) -> Any:
        return json.loads(text[2:])[1]


DIALECTS = {"plain": Plain(), "socketio": SocketIO()}
