"""Frames to send: a text that goes to many sockets is encoded and framed once.

Unfragmented and unmasked, as a server may send all its frames (RFC 6455, 5.2).

Invariants of a cache
- It gives a frame only for an equal text: the whole text is the key, and only a plain ``str`` is
  one, since a subclass may define its own equality. Of long texts only the last one is kept, and
  recognized by its identity: to hash 64 KiB takes 12 us, to encode and frame them 2.
- It holds at most ``CACHED_BYTES`` of frames and one more, and nothing once the turn is over.
"""

from typing import Any, Final

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
FINAL: Final = 0x80

CACHED_BYTES = 1024 * 1024
LONG = 4096  # characters; hashing a text of this length takes as long as framing it

SHORT = 125  # bytes of payload whose length fits the second byte
MEDIUM = 0xFFFF  # and those whose length fits two bytes more

_SHORT_TEXT = tuple(bytes((FINAL | TEXT, length)) for length in range(SHORT + 1))


def frame(opcode: int, payload: bytes) -> bytes:
    """One whole frame."""
    length = len(payload)
    if length <= SHORT:
        return bytes((FINAL | opcode, length)) + payload
    if length <= MEDIUM:
        return bytes((FINAL | opcode, 126)) + length.to_bytes(2, "big") + payload
    return bytes((FINAL | opcode, 127)) + length.to_bytes(8, "big") + payload


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
