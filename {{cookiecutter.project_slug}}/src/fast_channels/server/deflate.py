"""The same protocol with permessage-deflate (RFC 7692), for servers whose traffic is paid for.

Without context takeover, in both directions: no compressor stays in memory between two messages
(64 KiB per socket with it), and a compressed frame fits every socket of the same window, so that it
is made once per fan-out like any other. Messages below ``MINIMUM`` bytes are sent as they are,
which RFC 7692, 6 allows: at 1 KiB to compress takes 8 us, to frame 0.6.
"""

from collections.abc import Sequence
from typing import cast

from websockets.extensions import Extension, ServerExtensionFactory
from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Frame, Opcode

from .connection import Connection
from .frames import CACHED_BYTES, FrameCache
from .handshake import WebSocketProtocol

MINIMUM = 1024  # bytes of payload
WINDOW = 12  # bits, as uvicorn negotiates: 4 KiB
SETTINGS = {"memLevel": 5}

FACTORY = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    server_max_window_bits=WINDOW,
    client_max_window_bits=WINDOW,
    compress_settings=SETTINGS,
)


class DeflatedFrames(FrameCache):
    """Frames for the sockets that have agreed on one window; binary ones are kept as well."""

    __slots__ = ("_binaries", "_deflate", "_minimum")

    def __init__(self, window: int, minimum: int) -> None:
        super().__init__()
        self._minimum = minimum
        self._binaries: dict[bytes, bytes] = {}
        self._deflate = PerMessageDeflate(
            remote_no_context_takeover=True,
            local_no_context_takeover=True,
            remote_max_window_bits=window,
            local_max_window_bits=window,
            compress_settings=SETTINGS,
        )

    def text(self, text: str) -> bytes:
        payload = text.encode()
        return self._deflated(Opcode.TEXT, payload) or super().text(text)

    def long(self, text: str) -> bytes:
        return self[text]  # to compress 64 KiB takes fifty times as long as to hash them

    def binary(self, data: bytes) -> bytes:
        if len(data) < self._minimum:
            return super().binary(data)
        data = bytes(data)
        made = self._binaries.get(data)
        if made is None:
            made = self._deflated(Opcode.BINARY, data) or super().binary(data)
            self.size += len(made)
            if self.size > CACHED_BYTES:
                self.forget()
            self._binaries[data] = made
        return made

    def forget(self) -> None:
        super().forget()
        self._binaries.clear()

    def _deflated(self, opcode: Opcode, payload: bytes) -> bytes | None:
        """None if compression does not pay."""
        if len(payload) < self._minimum:
            return None
        made = Frame(opcode, payload).serialize(mask=False, extensions=[self._deflate])
        return made if len(made) < len(payload) else None


class CompressedWebSocketProtocol(WebSocketProtocol):
    """For ``uvicorn --ws fast_channels.server:CompressedWebSocketProtocol``.

    Compression is used with clients that offer it, unless uvicorn's ``ws_per_message_deflate`` is
    off. A subclass may set ``minimum``, in bytes.
    """

    minimum = MINIMUM

    def extensions(self) -> Sequence[ServerExtensionFactory]:
        return (FACTORY,) if self.config.ws_per_message_deflate else ()

    def agreed(self, connection: Connection, extensions: Sequence[Extension]) -> None:
        if not extensions:
            return
        connection.extensions = extensions
        window = cast(PerMessageDeflate, extensions[0]).local_max_window_bits
        caches, key = connection.shared.deflated, (window, self.minimum)
        if key not in caches:
            caches[key] = DeflatedFrames(*key)
        connection.frames = caches[key]
