"""What comes in on one connection: bytes to messages.

This file understands a frame's header and no more. Whole, unfragmented, uncompressed messages,
pings, pongs and the client's close frame, which is all that most clients ever send, are handled
here. Everything else goes to the parser of ``websockets``: fragments, compressed messages, the
answer to our own close frame, and whatever breaks a rule, which it then names. It is made when it
is needed and dropped after the last fragment, so that an idle connection has none; and a short
message costs 0.9 us instead of its 2.4, a third of what an echo costs besides the kernel.

A client costs the others little, whatever it sends: a loop turn handles ``FRAMES_PER_TURN`` frames of
a connection, and then the other connections have theirs.

Invariants
- ``_buffer`` begins with a frame's header, and is worth looking at from ``_needed`` bytes on. It
  holds at most one frame, or what came in one read while the inbox was full or the turn was over.
- While ``_reading_paused`` the transport reads nothing, and ``_read_on`` is scheduled or the inbox full.
- The parser gets whole frames; or, once a header broke a rule, all bytes that follow.
"""

from collections.abc import Sequence
from typing import cast

from websockets.exceptions import ProtocolError
from websockets.extensions import Extension
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import OPEN, SEND_EOF, SERVER, Protocol

from .frames import BINARY, CLOSE, FINAL, PING, PONG, SHORT, TEXT
from .hub import Hub
from .inbox import Inbox
from .outgoing import Outgoing

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

MASKED = 0x80
RSV1 = 0x40
CONTROL = 0x08
WHOLE_TEXT, WHOLE_BINARY = FINAL | TEXT, FINAL | BINARY
PINGS = WHOLE_PING, WHOLE_PONG = FINAL | PING, FINAL | PONG
WHOLE_CLOSE = FINAL | CLOSE
WHOLE = frozenset((WHOLE_TEXT, WHOLE_BINARY, WHOLE_PING, WHOLE_PONG, WHOLE_CLOSE))

# First bytes that break no rule: messages, their fragments, whole control frames; and with
# permessage-deflate also messages and first fragments with RSV1 (RFC 7692, 6).
PLAIN = frozenset((0x00, 0x80, 0x01, 0x81, 0x02, 0x82, 0x88, 0x89, 0x8A))
WITH_DEFLATE = PLAIN | {RSV1 | first for first in (0x01, 0x81, 0x02, 0x82)}


LONG = 2048  # bytes; to copy less than these is faster than a memoryview

# Frames of one connection in one loop turn: 2 ms of pings or fragments. libuv reads up to 32 times in a
# turn, 256,000 bytes each: a million pings would hold everybody up for 5 s.
FRAMES_PER_TURN = 256
# Fragments of a message: as many as its size has pieces of 16 bytes. Empty ones are no bytes at all.
MIN_FRAGMENTS = 1024
BYTES_PER_FRAGMENT = 16


def _unmask(data: bytes | bytearray, start: int, stop: int) -> bytes:
    """The payload between start and stop; the mask lies before it."""
    mask = data[start - 4 : start]
    if stop - start < LONG:
        return apply_mask(data[start:stop], mask)
    with memoryview(data) as view, view[start:stop] as payload:
        return apply_mask(payload, mask)


class Incoming(Outgoing):
    """The receiving half; the life of the connection is the subclass's."""

    __slots__ = (
        "_broken",
        "_buffer",
        "_fragments",
        "_fragments_count",
        "_is_text",
        "_needed",
        "_reading_paused",
        "extensions",
        "inbox",
        "parser",
    )

    def __init__(self, hub: Hub) -> None:
        super().__init__(hub)
        self.inbox = Inbox(hub.loop, hub.max_queue, self)
        self.extensions: Sequence[Extension] = ()
        self.parser: Protocol | None = None
        self._broken = False
        self._buffer: bytearray | None = None
        self._needed = 0
        self._fragments: bytearray | None = None
        self._fragments_count = 0
        self._is_text = False
        self._reading_paused = False

    # For the subclass

    def ponged(self, payload: bytes) -> None:
        """The client has answered a ping."""
        raise NotImplementedError

    def closed_by_client(self, close: Close, payload: bytes) -> None:
        """The client has sent a close frame with this payload, which is not answered yet."""
        raise NotImplementedError

    def ended(self, close: Close, *, clean: bool) -> None:
        """The client has closed, or broken a rule (not ``clean``); our close frame is queued."""
        raise NotImplementedError

    # From the transport

    def data_received(self, data: bytes | bytearray) -> None:
        if self._broken:
            if self.parser is not None:
                self._feed(data)
            return
        buffer = self._buffer
        if buffer is not None:
            buffer += data
            if len(buffer) < self._needed or self._reading_paused:
                return
            data = buffer
            self._buffer = None
        if self._consume(data) and not self.transport.is_closing():
            self._reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on in the next loop turn, so that an application that is fed does not keep this one."""
        self.hub.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if not self._reading_paused or self.inbox.full:
            return
        buffer, self._buffer = self._buffer, None
        self._reading_paused = False
        if buffer and self._consume(buffer):
            self._reading_paused = True
        elif not self.transport.is_closing():
            self.transport.resume_reading()

    def _consume(self, data: bytes | bytearray) -> bool:
        """Handle the frames that are there, and keep the rest; whether no more may be read for now."""
        position, end = 0, len(data)
        for _ in range(FRAMES_PER_TURN):
            if end - position < 2:
                break
            first = data[position]
            length = data[position + 1] - MASKED  # negative without a mask
            start = position + 6  # of the payload, behind the mask
            if length > SHORT:
                size = 2 if length == 126 else 8
                start += size
                if start > end:
                    return self._keep(data, position, start - position)
                length = int.from_bytes(data[position + 2 : position + 2 + size], "big")
            if self._breaks_a_rule(first, length):
                self._broken = True
                self._feed(data[position:])
                return False
            stop = start + length
            if stop > end:
                return self._keep(data, position, stop - position)
            if not self._is_simple(first) or not self._whole(first, _unmask(data, start, stop)):
                self._feed(data[position:stop])
            position = stop
            if self.inbox.full or self._broken:
                break
        else:
            if end - position >= 2:
                self._keep(data, position, 2)
                self.resume_reading()
                return True
        if position < end and not self._broken:
            self._keep(data, position, 2)
        return self.inbox.full

    def _keep(self, data: bytes | bytearray, position: int, needed: int) -> bool:
        """Keep what begins here until there is more; nothing can be done with less than needed."""
        if isinstance(data, bytearray):
            del data[:position]
            self._buffer = data
        else:
            self._buffer = bytearray(data[position:] if position else data)
        self._needed = needed
        return False

    def _breaks_a_rule(self, first: int, length: int) -> bool:
        allowed = WITH_DEFLATE if self.extensions else PLAIN
        most = self.hub.max_size - len(self._fragments or b"")
        if first & CONTROL:
            most = min(most, SHORT)
        return first not in allowed or not 0 <= length <= most

    # Frames

    def _is_simple(self, first: int) -> bool:
        """The frame may need no parser: it is whole, and a message not while fragments are due."""
        if self.parser is None:
            return first in WHOLE
        return first in PINGS or (first == WHOLE_CLOSE and self.open)

    def _whole(self, first: int, payload: bytes) -> bool:
        """Handle a frame without the parser, or say that only the parser can."""
        if not first & CONTROL:
            self._message(payload, is_text=first == WHOLE_TEXT)
        elif first == WHOLE_PING:
            self.pong(payload)
        elif first == WHOLE_PONG:
            self.ponged(payload)
        else:
            try:
                close = Close.parse(payload)
            except (ProtocolError, UnicodeDecodeError):
                return False
            self._broken = True
            self.parser = self._fragments = None
            self.closed_by_client(close, payload)
        return True

    def _message(self, data: bytes | bytearray, *, is_text: bool) -> None:
        if not is_text:
            self.inbox.put_message({"type": "websocket.receive", "bytes": bytes(data)}, len(data))
            return
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            self.fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")
            return
        self.inbox.put_message({"type": "websocket.receive", "text": text}, len(text))

    def _feed(self, data: bytes | bytearray) -> None:
        """Let the parser handle this, and keep it while a message's fragments or an end are due."""
        parser = self.need_parser()
        parser.receive_data(data)
        for event in parser.events_received():
            if isinstance(event, Frame):
                self._fragment(event)
        self._answer(parser)
        if self._fragments is None and self.open and not self._broken:
            self.parser = None

    def _fragment(self, event: Frame) -> None:
        if event.opcode is Opcode.TEXT or event.opcode is Opcode.BINARY:
            self._fragments = bytearray()
            self._fragments_count = 0
            self._is_text = event.opcode is Opcode.TEXT
        elif event.opcode is not Opcode.CONT:
            return
        fragments = self._fragments
        if fragments is None:
            raise AssertionError("the parser passed a continuation of nothing")
        fragments += event.data
        self._fragments_count += 1
        if event.fin:
            self._fragments = None
            self._message(fragments, is_text=self._is_text)
        elif self._fragments_count >= max(MIN_FRAGMENTS, self.hub.max_size // BYTES_PER_FRAGMENT):
            self.fail(CloseCode.POLICY_VIOLATION, "too many fragments")

    def need_parser(self) -> Protocol:
        """The parser, made if there is none."""
        parser = self.parser
        if parser is None:
            hub = self.hub
            parser = Protocol(SERVER, state=OPEN, max_size=hub.max_size, logger=hub.logger)
            parser.extensions = list(self.extensions)
            self.parser = parser
        return parser

    def fail(self, code: CloseCode, reason: str) -> None:
        """Close because the client broke a rule, or does not answer."""
        parser = self.need_parser()
        parser.fail(code, reason)
        self._answer(parser)

    def _answer(self, parser: Protocol) -> None:
        over = False
        for data in parser.data_to_send():
            if data == SEND_EOF:
                over = True
            else:
                self.queue(data)
        if over:
            self._broken = True
            self.parser = None
            received, sent = parser.close_rcvd, parser.close_sent
            clean = received is not None and parser.parser_exc is None
            self.ended(cast(Close, received if clean else sent), clean=clean)
