"""WebSocket frames (RFC 6455 section 5) as a load client needs them: small and unfragmented."""

from collections.abc import Iterator

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
FINAL = 0x80
MASKED = 0x80
NO_MASK = b"\0\0\0\0"


class UnexpectedFrameError(Exception):
    """A frame that no server of ours has a reason to send: fragmented, masked or 16 MiB long."""


def encode(payload: bytes, opcode: int = TEXT) -> bytes:
    """A client's frame; ``payload`` up to 65,535 bytes."""
    size = len(payload)
    if size < 126:
        head = bytes((FINAL | opcode, MASKED | size))
    else:
        head = bytes((FINAL | opcode, MASKED | 126)) + size.to_bytes(2, "big")
    return head + NO_MASK + payload


CLOSE_NORMALLY = encode((1000).to_bytes(2, "big"), CLOSE)


class Decoder:
    """Cuts what a socket received into whole frames; the rest of a frame waits for the next read."""

    __slots__ = ("rest",)

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(opcode, payload) of each frame that is complete."""
        if self.rest:
            data = self.rest + data
        start, end = 0, len(data)
        while end - start >= 2:
            head, size = data[start], data[start + 1]
            body = start + 2
            if size == 126:
                body += 2
                size = int.from_bytes(data[start + 2 : body], "big") if end >= body else end
            elif size > 126 or not head & FINAL:
                raise UnexpectedFrameError(f"first bytes {data[start : start + 10]!r}")
            if end < body + size:
                break
            start = body + size
            yield head & 0x0F, data[body:start]
        self.rest = data[start:]
