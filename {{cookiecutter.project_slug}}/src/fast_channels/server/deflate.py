"""Compressed frames: permessage-deflate (RFC 7692), for servers whose traffic is paid for.

Without context takeover, in both directions: no compressor stays in memory between two messages
(64 KiB per socket with it), and a compressed frame fits every socket of the same window, so that it
is made once per fan-out like any other. Messages below a minimum are sent as they are, which RFC 7692,
6 allows: at 1 KiB to compress takes 8 us, to frame 0.6.
"""

from collections.abc import Sequence
from typing import cast

from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Frame, Opcode

from .frames import FrameCache, frame
from .shared import SharedState

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

    __slots__ = ("_deflate", "_minimum")

    def __init__(self, window: int, minimum: int) -> None:
        super().__init__()
        self._minimum = minimum
        self._deflate = PerMessageDeflate(
            remote_no_context_takeover=True,
            local_no_context_takeover=True,
            remote_max_window_bits=window,
            local_max_window_bits=window,
            compress_settings=SETTINGS,
        )

    def text(self, text: str | bytes) -> bytes:
        """Of bytes as well: both are keys here."""
        opcode, payload = (
            (Opcode.TEXT, text.encode()) if isinstance(text, str) else (Opcode.BINARY, text)
        )
        if len(payload) >= self._minimum:
            made = Frame(opcode, payload).serialize(mask=False, extensions=[self._deflate])
            if len(made) < len(payload):
                return made
        return frame(opcode, payload)

    def long(self, text: str) -> bytes:
        return self[text]  # to compress 64 KiB takes fifty times as long as to hash them

    def binary(self, data: bytes) -> bytes:
        return self[bytes(data)] if len(data) >= self._minimum else super().binary(data)


def deflated_frames(
    shared: SharedState, extensions: Sequence[Extension], minimum: int
) -> FrameCache:
    """The cache of all sockets that have agreed on this extension's window."""
    window = cast(PerMessageDeflate, extensions[0]).local_max_window_bits
    caches, key = shared.deflated, (window, minimum)
    if key not in caches:
        caches[key] = DeflatedFrames(*key)
    return caches[key]
