"""One WebSocket connection, whole: handshake, bytes to messages, messages to frames, flow control, endings.

uvicorn puts it on the transport with the opening request, which ``request.py`` reads. What only the
handshake needs is let go of after it: an idle socket of a bare application holds 6 KiB instead of
uvicorn's 19, of which 1.2 are uvloop's and about 2 are the scope. It knows nothing of consumers or layers.

    HANDSHAKE --accept--> OPEN --application's close--> CLOSED_BY_APPLICATION --.
        |                  |--client's close, answered; broken rule;     ^      |
        |                  |  application's end; shutdown----> CLOSED ---|------|
        |                  `--transport lost-----------------------------|------|
        |--application's refusal-----------------------------------------'      |
        `--refused for any other reason; transport lost-------------------------'--> LOST

Reading. Whole, unfragmented, uncompressed messages, pings, pongs and the client's close frame are
handled here. Everything else goes to the parser of ``websockets``, made when it is needed: fragments,
compressed messages, and whatever breaks a rule, which it then names. A short message
costs 0.9 us instead of its 2.4, a third of what an echo costs besides the kernel.

Invariants
- At most one response is sent to the opening request.
- The application gets exactly one final event, ``websocket.disconnect``, whatever comes first: its own
  refusal or close, the client's close frame, a broken rule, the shutdown, or the lost connection.
- After our last frame the transport is closed, or aborted within ``CLOSE_TIMEOUT`` seconds.
- A connection has at most one deadline: a ping's or pong's, and after the first close frame its end's.
- ``ready`` if and only if the phase is OPEN and the transport takes more: a message may be queued.
- Frames leave in the order in which they were queued, whatever their kind.
- While the transport is paused no message is queued: ``send`` waits. So a connection holds at most
  ``OUTBOX`` bytes, one message and the transport's buffer for a client that reads nothing. A pong
  while paused replaces the one before (RFC 6455, 5.5.3 allows to answer the latest ping).
- ``_unread`` begins with a frame's header, and is worth looking at from ``_needed`` bytes on. It
  holds at most one frame, or what came in one read while the buffer was full or the turn was over.
- While ``_reading_paused`` the transport reads nothing, and ``_read_on`` is scheduled or the receive
  buffer full.
- The parser gets whole frames; or, when ``_framing`` is over, all bytes that follow.
"""

import asyncio
import enum
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar, TypeAlias, cast

from uvicorn.config import Config
from uvicorn.protocols import utils
from uvicorn.server import ServerState
from websockets.exceptions import ProtocolError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import OPEN, SERVER, Protocol as Parser

from ..type_defs import Event, Headers, Receive, Scope, Send
from .frames import (
    CLOSE,
    CONTROL,
    DEFLATE,
    FINAL,
    LONG,
    MASKED,
    MINIMUM,
    PING,
    PLAIN,
    PONG,
    SHORT,
    TEXT,
    WHOLE,
    WITH_DEFLATE,
    FrameCache,
    frame,
    unmask,
)
from .receive_buffer import ReceiveBuffer
from .request import OpeningRequest, acceptance, head, read, response
from .shared import Connection, Deadlines, SharedState, shared_state

# One that does not return None is reported; so its type allows it to.
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[object]]

OUTBOX = 64 * 1024  # bytes; more than this is written before the loop turn is over

# Frames of one connection in one loop turn: 2 ms of pings or fragments, then the others have theirs. libuv
# reads up to 32 times in a turn, 256,000 bytes each: a million pings would hold everybody up for 5 s.
FRAMES_PER_TURN = 256
# Fragments of a message: as many as its size has pieces of 16 bytes. Empty ones are no bytes at all.
MIN_FRAGMENTS = 1024
BYTES_PER_FRAGMENT = 16

NO_MORE = "none after sending 'websocket.close'"
# Of --limit-concurrency: the rest is left for HTTP, so that full is not taken for dead by a health check.
SOCKETS_SHARE = 0.9
SHUTDOWN = CloseCode.SERVICE_RESTART


class Phase(enum.Enum):
    HANDSHAKE = enum.auto()
    OPEN = enum.auto()  # also while the client's close frame waits for the application's answers
    CLOSED_BY_APPLICATION = enum.auto()  # so a further event of the application is an error
    CLOSED = enum.auto()  # by anything else, which is nothing that the application could know
    LOST = enum.auto()


def unexpected(event: Event, expected: str) -> RuntimeError:
    return RuntimeError(f"Expected ASGI message {expected}, but got '{event['type']}'.")


@dataclass(eq=False, repr=False, slots=True)
class WebSocketProtocol(asyncio.Protocol):
    """For ``uvicorn --ws fast_channels.server:WebSocketProtocol``; compression is never negotiated.

    ``ws_max_size``, ``ws_max_queue``, ``ws_ping_interval`` and ``ws_ping_timeout`` mean what they
    mean to uvicorn; ``ws_max_queue`` is the number of messages that are read ahead. ``ws_max_size`` is
    64 KiB where uvicorn has its default. With ``limit_concurrency``, sockets take nine tenths of it at
    most: uvicorn itself counts them, but refuses none.
    """

    minimum: ClassVar[int | None] = None  # bytes of a message from which on it is compressed

    config: Config
    server_state: ServerState
    app_state: dict[str, Any]
    shared: SharedState = field(init=False)
    transport: asyncio.Transport = field(init=False)
    phase: Phase = Phase.HANDSHAKE
    # During the handshake; the denial is what the application has begun to respond.
    request: OpeningRequest | None = None
    scope: Any = None
    _denial: tuple[int, Headers, bytearray] | None = None
    # Incoming
    receive_buffer: ReceiveBuffer = field(init=False)
    extensions: Sequence[Extension] = ()
    parser: Parser | None = None
    _framing: bool = False
    _unread: bytearray | None = None
    _needed: int = 0
    _fragments: bytearray | None = None
    _fragments_count: int = 0
    _is_text: bool = False
    _reading_paused: bool = False
    # Outgoing
    ready: bool = False
    frames: FrameCache = field(init=False)
    _outbox: list[bytes] = field(default_factory=list)
    _queued: int = 0
    _paused: bool = False
    _blocked: "list[asyncio.Future[None]] | None" = None
    _ping: bytes | None = None
    _pong: bytes | None = None
    _deadline: Deadlines[Connection] | None = None

    def __post_init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.shared = shared_state(self.config, self.server_state, loop)
        self.receive_buffer = ReceiveBuffer(loop, self.shared.max_queue, self)
        self.frames = self.shared.frames

    # The application

    async def run(self, app: Application, scope: Scope) -> None:
        """Run the application; when it is done, so is the connection."""
        code = CloseCode.NORMAL_CLOSURE
        try:
            result = await app(scope, self.receive_buffer.receive, self.send)
        except utils.ClientDisconnected:
            pass
        except Exception:
            self.shared.logger.exception("Exception in ASGI application\n")
            code = CloseCode.INTERNAL_ERROR
        except BaseException:
            code = SHUTDOWN
            raise
        else:
            if self.phase is Phase.HANDSHAKE:
                self.shared.logger.error("ASGI callable returned without completing handshake.")
            elif result is not None:
                wrong = "ASGI callable should return None, but returned %r."
                self.shared.logger.error(wrong, result)
        finally:
            self._close(code)

    async def send(self, event: Event) -> None:
        """ASGI's send: a message is queued at once, unless the client reads too slowly.

        ``ClientDisconnected``, an OSError, if the client has gone; ``RuntimeError`` for an event
        that does not fit the connection's state.
        """
        if not self.ready or event["type"] != "websocket.send":
            if self.phase is Phase.LOST:
                raise utils.ClientDisconnected
            if self.phase is Phase.CLOSED_BY_APPLICATION:
                raise unexpected(event, NO_MORE)
            if self.phase is Phase.HANDSHAKE:
                self._answer(event)
                return
            if event["type"] == "websocket.close":
                code, reason = (
                    event.get("code", CloseCode.NORMAL_CLOSURE),
                    event.get("reason") or "",
                )
                self._close(code, reason, Phase.CLOSED_BY_APPLICATION)
                return
            if event["type"] != "websocket.send":
                raise unexpected(event, "'websocket.send' or 'websocket.close'")
            await self._writable()
        data = event.get("bytes")
        if data is not None:
            self.send_frame(self.frames.binary(data))
            return
        text = event.get("text")
        if type(text) is str:
            self.send_frame(self.frames[text] if len(text) <= LONG else self.frames.long(text))
        elif text is not None:
            self.send_frame(self.frames.text(text))

    async def _writable(self) -> None:
        """Wait until the client has read enough; ``ClientDisconnected`` if it is gone."""
        while self._paused and self.phase is Phase.OPEN:
            waiter = self.shared.loop.create_future()
            self._blocked = [*(self._blocked or ()), waiter]
            await waiter
        if self.phase is not Phase.OPEN:
            raise utils.ClientDisconnected

    # The handshake

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.shared.connections.add(self)

    def _open(self, data: bytes) -> None:
        """Run the application if this is a request; the scope is that of uvicorn's own protocol."""
        request = self._read(data)
        if not isinstance(request, OpeningRequest):
            self._respond(request)
            return
        self.request = request
        self.scope = {
            "type": "websocket",
            "asgi": {"version": self.config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if utils.is_ssl(self.transport) else "ws",
            "server": utils.get_local_addr(self.transport),
            "client": utils.get_remote_addr(self.transport),
            **request.scope(self.config.root_path),
            "state": self.app_state.copy(),
            "extensions": {"websocket.http.response": {}},
        }
        self.receive_buffer.put({"type": "websocket.connect"})
        app = cast(Application, self.config.loaded_app)
        task = self.shared.loop.create_task(self.run(app, self.scope))
        task.add_done_callback(self.server_state.tasks.discard)
        self.server_state.tasks.add(task)

    def _read(self, data: bytes) -> OpeningRequest | bytes:
        """The request, or the response that refuses it."""
        limit = self.config.limit_concurrency
        if limit is not None and len(self.shared.connections) > limit * SOCKETS_SHARE:
            return response(HTTPStatus.SERVICE_UNAVAILABLE, b"Too many connections.")
        compresses = self.minimum is not None and self.config.ws_per_message_deflate
        return read(data, (DEFLATE,) if compresses else ())

    def _answer(self, event: Event) -> None:
        """What the application sends before it is connected; ``ValueError`` for a header not to be sent."""
        if self.transport.is_closing():
            raise utils.ClientDisconnected
        if self._denial is not None:
            self._extend_denial(event, *self._denial)
            return
        match event["type"]:
            case "websocket.accept":
                self._accept(event, cast(OpeningRequest, self.request))
            case "websocket.close":
                self._refuse(HTTPStatus.FORBIDDEN, b"")
            case "websocket.http.response.start":
                self._begin_denial(event)
            case _:
                first = "'websocket.accept', 'websocket.close' or 'websocket.http.response.start'"
                raise unexpected(event, first)

    def _accept(self, event: Event, request: OpeningRequest) -> None:
        headers = [*self.server_state.default_headers, *(event.get("headers") or ())]
        if subprotocol := event.get("subprotocol"):
            headers.append((b"sec-websocket-protocol", subprotocol.encode("latin-1")))
        self.send_frame(acceptance(request, headers))
        self._log("[accepted]")
        if request.extensions and self.minimum is not None:
            window = cast(PerMessageDeflate, request.extensions[0]).local_max_window_bits
            self.extensions = request.extensions
            self.frames = self.shared.deflated_frames(window, self.minimum)
        self.begin()

    def begin(self) -> None:
        """The accept is queued: go on with frames, and let go of all that was only for the handshake."""
        self.request = self.scope = None
        self.phase = Phase.OPEN
        self._framing = True
        self.ready = not self._paused
        self._set_deadline(self.shared.pings)
        if self._reading_paused:
            self.resume_reading()

    def _begin_denial(self, event: Event) -> None:
        status, headers = event["status"], list(event.get("headers", ()))
        if not 100 <= status < 600:
            raise RuntimeError(f"Invalid HTTP status code '{status}' in response.")
        head(b"", headers)
        self._denial = status, headers, bytearray()

    def _extend_denial(self, event: Event, status: int, headers: Headers, body: bytearray) -> None:
        if event["type"] != "websocket.http.response.body":
            raise unexpected(event, "'websocket.http.response.body'")
        body += event["body"]
        if not event.get("more_body", False):
            self._refuse(status, bytes(body), headers)

    def _refuse(self, status: int, body: bytes, headers: Headers | None = None) -> None:
        self._log(int(status))
        self._respond(response(status, body, headers or ()))
        self.phase = Phase.CLOSED_BY_APPLICATION

    def _respond(self, answer: bytes) -> None:
        """Send a response that is no accept, and close."""
        self.phase = Phase.LOST
        self.receive_buffer.end(CloseCode.ABNORMAL_CLOSURE)
        self.transport.write(answer)
        self.transport.close()

    def _log(self, outcome: object) -> None:
        logger = self.shared.logger
        if logger.isEnabledFor(logging.INFO):
            path = utils.get_path_with_query_string(self.scope)
            client = utils.get_client_addr(self.scope)
            logger.info('%s - "WebSocket %s" %s', client, path, outcome)

    # Incoming bytes

    def data_received(self, data: bytes | bytearray) -> None:
        if not self._framing:
            self._unframed(data)
            return
        unread = self._unread
        if unread is not None:
            unread += data
            if len(unread) < self._needed or self._reading_paused:
                return
            data = unread
            self._unread = None
        if self._consume(data) and not self.transport.is_closing():
            self._reading_paused = True
            self.transport.pause_reading()

    def _unframed(self, data: bytes | bytearray) -> None:
        """Before the frames begin, or after they are over."""
        if self.phase is not Phase.HANDSHAKE:
            if self.parser is not None:
                self._feed(data)
        elif self.request is None:
            self._open(bytes(data))
        else:  # it comes early: no more is read until the accept
            self._unread = self._unread or bytearray()
            self._unread += data
            self._reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on in the next loop turn, so that an application that is fed does not keep this one."""
        self.shared.loop.call_soon(self._read_on)
        if self._deadline is self.shared.pongs:  # the pong may be behind what was not read
            self.shared.pongs.add(self)

    def _read_on(self) -> None:
        if not self._reading_paused or self.receive_buffer.full:
            return
        unread, self._unread = self._unread, None
        self._reading_paused = False
        if unread and self._consume(unread):
            self._reading_paused = True
        elif not self.transport.is_closing():
            self.transport.resume_reading()

    def _consume(self, data: bytes | bytearray) -> bool:
        """Handle the frames that are there, and keep the rest; whether no more may be read for now."""
        position, end, needed = 0, len(data), 2
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
                    needed = start - position
                    break
                length = int.from_bytes(data[position + 2 : position + 2 + size], "big")
            if self._breaks_a_rule(first, length):
                self._framing = False
                self._feed(data[position:])
                return False
            stop = start + length
            if stop > end:
                needed = stop - position
                break
            if first not in WHOLE or not self._handle(first - FINAL, unmask(data, start, stop)):
                self._feed(data[position:stop])
            position = stop
            if self.receive_buffer.full or not self._framing:
                break
        else:
            self.resume_reading()
            self._keep(data, position, needed)
            return True
        if position < end and self._framing:
            self._keep(data, position, needed)
        return self.receive_buffer.full

    def _keep(self, data: bytes | bytearray, position: int, needed: int) -> None:
        """Keep what begins here until there is more; nothing can be done with less than needed."""
        if isinstance(data, bytearray):
            del data[:position]
            self._unread = data
        else:
            self._unread = bytearray(data[position:])
        self._needed = needed

    def _breaks_a_rule(self, first: int, length: int) -> bool:
        allowed = WITH_DEFLATE if self.extensions else PLAIN
        most = self.shared.max_size - len(self._fragments or b"")
        if first & CONTROL:
            most = min(most, SHORT)
        return first not in allowed or not 0 <= length <= most

    # Incoming frames

    def _handle(self, opcode: int, payload: bytes) -> bool:
        """Handle a whole frame, or say that only the parser can."""
        if opcode == PING:
            if self._paused:
                self._pong = payload
            else:
                self.send_frame(frame(PONG, payload))
        elif opcode == PONG:
            self._ponged(payload)
        elif opcode == CLOSE:
            return self._closed_by_client(payload)
        elif self.parser is None:
            self._message(payload, is_text=opcode == TEXT)
        else:  # a message between the fragments of another
            return False
        return True

    def _message(self, data: bytes | bytearray, *, is_text: bool) -> None:
        if not is_text:
            event = {"type": "websocket.receive", "bytes": bytes(data)}
            self.receive_buffer.put(event, len(data))
            return
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            self._fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")
            return
        self.receive_buffer.put({"type": "websocket.receive", "text": text}, len(text))

    def _feed(self, data: bytes | bytearray) -> None:
        """Let the parser handle this, and keep it while a message's fragments or an error are due."""
        parser = self.parser
        if parser is None:
            parser = self.parser = Parser(SERVER, state=OPEN, max_size=self.shared.max_size)
            parser.extensions = list(self.extensions)
        parser.receive_data(data)
        for event in parser.events_received():
            self._fragment(cast(Frame, event))
        if (close := parser.close_sent) is not None:
            self._fail(close.code, close.reason)
        elif self._fragments is None and self._framing:
            self.parser = None

    def _fragment(self, event: Frame) -> None:
        if event.opcode is not Opcode.CONT:
            self._fragments, self._fragments_count = bytearray(), 0
            self._is_text = event.opcode is Opcode.TEXT
        fragments = cast(bytearray, self._fragments)
        fragments += event.data
        self._fragments_count += 1
        if event.fin:
            self._fragments = None
            self._message(fragments, is_text=self._is_text)
        elif self._fragments_count >= max(
            MIN_FRAGMENTS, self.shared.max_size // BYTES_PER_FRAGMENT
        ):
            self._fail(CloseCode.POLICY_VIOLATION, "too many fragments")

    def _fail(self, code: int, reason: str) -> None:
        """Close because the client broke a rule, or does not answer."""
        if self.phase is Phase.OPEN:
            self.send_frame(frame(CLOSE, Close(code, reason).serialize()))
        self._framing = False
        self.parser = self._fragments = None
        self._end_by_client(Close(code, reason), clean=False)

    # Outgoing frames

    def send_frame(self, data: bytes) -> None:
        """Send a frame with what else is sent in this loop turn."""
        outbox = self._outbox
        if not outbox:
            self.shared.mark_dirty(self)
        outbox.append(data)
        self._queued += len(data)
        if self._queued > OUTBOX:
            self.flush()

    def flush(self) -> None:
        """Write what is queued."""
        outbox = self._outbox
        if outbox:
            if not self.transport.is_closing():
                self.transport.write(outbox[0] if len(outbox) == 1 else b"".join(outbox))
            outbox.clear()
            self._queued = 0

    def pause_writing(self) -> None:
        self._paused = True
        self.ready = False

    def resume_writing(self) -> None:
        self._paused = False
        self.ready = self.phase is Phase.OPEN
        if self._pong is not None and self.ready:
            self.send_frame(frame(PONG, self._pong))
        self._pong = None
        self._wake_senders()

    def _wake_senders(self) -> None:
        blocked, self._blocked = self._blocked, None
        for waiter in blocked or ():
            if not waiter.done():
                waiter.set_result(None)

    # Endings

    def _close(self, code: int | None, reason: str = "", phase: Phase = Phase.CLOSED) -> None:
        """Begin the closing handshake unless the client has, which is answered instead.

        What is not accepted is refused. ``ProtocolError`` for a code that must not be sent.
        """
        if self.phase is Phase.HANDSHAKE:
            error = HTTPStatus.INTERNAL_SERVER_ERROR
            self._log(error.value)
            self._respond(response(error, error.phrase.encode()))
        if self.phase is not Phase.OPEN:
            return
        if self.receive_buffer.on_empty is not None:
            self.answer_close()
            return
        parser = Parser(SERVER, state=OPEN)  # it checks what is sent
        parser.send_close(code, reason)
        self.send_frame(b"".join(parser.data_to_send()))
        self.phase = phase
        self._end(CloseCode.NO_STATUS_RCVD if code is None else code, reason)
        self._set_deadline(self.shared.close_answers)
        if self._reading_paused:  # the client's answer may be behind what nobody will receive
            self.receive_buffer.full = False
            self.resume_reading()

    def _closed_by_client(self, payload: bytes) -> bool:
        """Answer, once the application could answer what came before; but not an answer to ours.

        False if the frame breaks a rule.
        """
        try:
            close = Close.parse(payload)
        except (ProtocolError, UnicodeDecodeError):
            return False
        self._framing = False
        self.parser = self._fragments = None
        if self.phase is not Phase.OPEN:
            self._end_by_client(close, clean=True)
            return True
        self.receive_buffer.on_empty = partial(self._echo_close, close, payload)
        if self.receive_buffer.is_empty:
            self.answer_close()
        else:
            self._set_deadline(self.shared.last_answers)
        return True

    def answer_close(self) -> None:
        """Answer the client's close frame, if one waits for it."""
        if self.receive_buffer.on_empty is not None:
            self.receive_buffer.on_empty()

    def _echo_close(self, close: Close, payload: bytes) -> None:
        self.receive_buffer.on_empty = None
        self.send_frame(frame(CLOSE, payload))
        self._end_by_client(close, clean=True)

    def _end_by_client(self, close: Close, *, clean: bool) -> None:
        """The client has closed, or broken a rule (not ``clean``); our close frame is queued.

        After a broken rule nothing more is sent, and read on until the client closes. Closing at once, with
        bytes unread, would reset the connection, and the reset may overtake the frame that says why.
        """
        self._end(close.code, close.reason)
        if clean or not self.transport.can_write_eof():  # TLS
            self.transport.close()
        else:
            self.transport.write_eof()
            if self._reading_paused:
                self._reading_paused = False
                self.transport.resume_reading()
        self._set_deadline(self.shared.close_answers if clean else self.shared.lingering)

    def shutdown(self) -> None:
        """uvicorn stops. A client has ``LINGER`` seconds to take what is queued, and to answer."""
        self._close(SHUTDOWN)
        self._set_deadline(self.shared.lingering)

    def _end(self, code: int, reason: str | None = None) -> None:
        """No message is sent any more, and the application is told, unless it was."""
        if self.phase is Phase.OPEN:
            self.phase = Phase.CLOSED
        self.ready = False
        self._wake_senders()
        self.flush()
        self._set_deadline(None)
        self.receive_buffer.end(code, reason)

    def _set_deadline(self, deadlines: Deadlines[Connection] | None) -> None:
        """Have at most this one from now on."""
        if self._deadline is not None:
            self._deadline.discard(self)
        self._deadline = deadlines
        if deadlines is not None:
            deadlines.add(self)

    def eof_received(self) -> None:
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._framing = False
        self.answer_close()  # which tells the application how the client left
        self.phase = Phase.LOST
        self.parser = self._unread = self.receive_buffer.source = None
        self.shared.connections.discard(self)
        self._end(CloseCode.ABNORMAL_CLOSURE)

    # Keepalive

    def ping(self) -> None:
        """Send a ping; its answer is due within ``ws_ping_timeout`` seconds."""
        self._ping = random.randbytes(4)
        self.send_frame(frame(PING, self._ping))
        shared = self.shared
        self._set_deadline(shared.pongs if shared.pongs.delay else shared.pings)

    def _ponged(self, payload: bytes) -> None:
        if payload != self._ping or self.phase is not Phase.OPEN:
            return
        self._ping = None
        if self._deadline is self.shared.pongs:
            self._set_deadline(self.shared.pings)

    def ping_unanswered(self) -> None:
        """Close, unless the answer may be among what waits to be read."""
        if self._reading_paused:
            self._set_deadline(self.shared.pongs)
        else:
            self._fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")


class CompressedWebSocketProtocol(WebSocketProtocol):
    """For ``uvicorn --ws fast_channels.server:CompressedWebSocketProtocol``.

    Compression is used with clients that offer it, unless uvicorn's ``ws_per_message_deflate`` is
    off. A subclass may set ``minimum``, in bytes.
    """

    __slots__ = ()
    minimum = MINIMUM
