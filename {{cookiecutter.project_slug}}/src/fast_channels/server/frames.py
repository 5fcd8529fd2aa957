"""Frames: what they are made of, and those to send. A text to many sockets is encoded and framed once.

Unfragmented and unmasked, as a server may send all its frames (RFC 6455, 5.2). Compressed ones, for servers
whose traffic is paid for, by permessage-deflate (RFC 7692) without context takeover, in both directions: no
compressor stays in memory between two messages (64 KiB per socket with it), and a frame fits every socket
of the same window. Messages below a minimum are sent as they are, which RFC 7692, 6 allows.

Invariants of a cache
- It gives a frame only for an equal text: the whole text is the key, and only a plain ``str`` is
  one, since a subclass may define its own equality. Of long texts only the last one is kept, and
  recognized by its identity: to hash 64 KiB takes 12 us, to encode and frame them 2.
- It holds at most ``CACHED_BYTES`` of frames and one more, and nothing once the turn is over.
"""

from typing import Any, Final

from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import Frame, Opcode

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
FINAL: Final = 0x80
MASKED: Final = 0x80
RSV1: Final = 0x40
CONTROL: Final = 0x08

# First bytes of frames: of those that are whole; of those that break no rule, which are messages, their
# fragments and whole control frames; and with permessage-deflate also messages and first fragments with
# RSV1 (RFC 7692, 6).
WHOLE = frozenset(FINAL | opcode for opcode in (TEXT, BINARY, CLOSE, PING, PONG))
PLAIN = frozenset((0x00, 0x80, 0x01, 0x81, 0x02, 0x82, 0x88, 0x89, 0x8A))
WITH_DEFLATE = PLAIN | {RSV1 | first for first in (0x01, 0x81, 0x02, 0x82)}

MIN_VIEW = 2048  # bytes; to copy less than these is faster than a memoryview

CACHED_BYTES = 1024 * 1024
LONG = 4096  # characters; hashing a text of this length takes as long as framing it

SHORT = 125  # bytes of payload whose length fits the second byte
MEDIUM = 0xFFFF  # and those whose length fits two bytes more

MINIMUM = 1024  # bytes of payload; to compress so much takes 8 us, to frame it 0.6
WINDOW = 12  # bits, as uvicorn negotiates: 4 KiB
SETTINGS = {"memLevel": 5}
DEFLATE = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    server_max_window_bits=WINDOW,
    client_max_window_bits=WINDOW,
    compress_settings=SETTINGS,
)

_SHORT_TEXT = tuple(bytes((FINAL | TEXT, length)) for length in range(SHORT + 1))


def frame(opcode: int, payload: bytes) -> bytes:
    """One whole frame."""
    length = len(payload)
    if length <= SHORT:
        return bytes((FINAL | opcode, length)) + payload
    if length <= MEDIUM:
        return bytes((FINAL | opcode, 126)) + length.to_bytes(2, "big") + payload
    return bytes((FINAL | opcode, 127)) + length.to_bytes(8, "big") + payload


def unmask(data: bytes | bytearray, start: int, stop: int) -> bytes:
    """The payload between start and stop; the mask lies before it."""
    mask = data[start - 4 : start]
    if stop - start < MIN_VIEW:
        return apply_mask(data[start:stop], mask)
    with memoryview(data) as view, view[start:stop] as payload:
        return apply_mask(payload, mask)


class FrameCache(dict[str | bytes, bytes]):
    """``cache[text]`` is the frame of a text, made if it is not there."""

    __slots__ = ("_long", "_long_frame", "size")

    def __init__(self) -> None:
        self.size = 0
        self._long: str | None = None
        self._long_frame = b""

    def __missing__(self, text: Any) -> bytes:
        made = self.text(text)
        self.size += len(made)
        if self.size > CACHED_BYTES:
            self.clear()
            self.size = len(made)
        self[text] = made
        return made

    def long(self, text: str) -> bytes:
        """The frame of a text of more than ``LONG`` characters."""
        if text is not self._long:
            self._long_frame = self.text(text)
            self._long = text
        return self._long_frame

    def forget(self) -> None:
        """Called when the loop turn is over."""
        self.clear()
        self.size = 0
        self._long = None
        self._long_frame = b""

    def text(self, text: str) -> bytes:
        """The frame of a text, not kept; ``UnicodeEncodeError`` for a lone surrogate."""
        payload = text.encode()
        if len(payload) <= SHORT:
            return _SHORT_TEXT[len(payload)] + payload
        return frame(TEXT, payload)

    def binary(self, data: bytes) -> bytes:
        """The frame of any bytes-like object, not kept."""
        return frame(BINARY, data if isinstance(data, bytes) else bytes(data))


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
