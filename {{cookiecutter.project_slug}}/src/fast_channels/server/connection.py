"""One WebSocket connection, from the accept to its end: what the application sends and receives.

It replaces uvicorn's protocol object on the transport once the handshake is over (see
``handshake.py``), so that what only a handshake needs is freed: an idle socket of a bare application
holds 6 KiB instead of 19, of which 1.2 are uvloop's and about 2 are the scope.

Invariants
- The application gets exactly one final event, ``websocket.disconnect``, whatever comes first: the
  client's close frame, its own close, a broken rule, the server's shutdown, or the lost connection.
- After our last frame the transport is closed, or aborted within ``CLOSE_TIMEOUT`` seconds.
"""

import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, TypeAlias

from uvicorn.protocols.utils import ClientDisconnected
from websockets.frames import Close, CloseCode

from ..type_defs import Event, Receive, Scope, Send
from .frames import CLOSE, LONG, PING, frame
from .hub import Hub
from .inbox import disconnect
from .incoming import Incoming

# One that does not return None is reported; so its type allows it to.
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[object]]

SHUTDOWN = CloseCode.SERVICE_RESTART


class Handshake(Protocol):
    """Who has the connection until the accept."""

    @property
    def is_open(self) -> bool:
        """The accept is sent, and nothing has ended the connection since."""
        ...

    @property
    def handshake_complete(self) -> bool:
        """No answer of the application's is waited for any more."""
        ...

    @property
    def paused(self) -> bool:
        """The transport takes no more for now."""
        ...

    async def send(self, event: Any, /) -> None: ...

    def refuse(self) -> None: ...

    def hand_over(self, connection: "Connection") -> None: ...


class Connection(Incoming):
    """The ``send`` of an application, and what ends a connection."""

    __slots__ = ("_closed_by_app", "_lost", "_ping", "handshake")

    def __init__(self, hub: Hub, handshake: Handshake) -> None:
        super().__init__(hub)
        self.handshake: Handshake | None = handshake
        self._closed_by_app = False
        self._lost = False
        self._ping: bytes | None = None

    # The application

    async def run(self, app: Application, scope: Scope) -> None:
        """Run the application; when it is done, so is the connection."""
        try:
            result = await app(scope, self.inbox.receive, self.send)
        except ClientDisconnected:
            self._finish(CloseCode.NORMAL_CLOSURE)
        except Exception:
            self.hub.logger.exception("Exception in ASGI application\n")
            self._finish(CloseCode.INTERNAL_ERROR)
        except BaseException:
            self._finish(SHUTDOWN)
            raise
        else:
            if self.handshake is not None and not self.handshake.handshake_complete:
                self.hub.logger.error("ASGI callable returned without completing handshake.")
            elif result is not None:
                self.hub.logger.error("ASGI callable should return None, but returned %r.", result)
            self._finish(CloseCode.NORMAL_CLOSURE)

    async def send(self, event: Event) -> None:
        """ASGI's send: a message is queued at once, unless the client reads too slowly.

        ``ClientDisconnected``, an OSError, if the client has gone; ``RuntimeError`` for an event
        that does not fit the connection's state.
        """
        if not self.ready or event["type"] != "websocket.send":
            if self.handshake is not None:
                await self._shake_hands(self.handshake, event)
                return
            if event["type"] == "websocket.close":
                self._close(event)
                return
            await self._expect_send(event)
        data = event.get("bytes")
        if data is not None:
            self.queue(self.frames.binary(data))
            return
        text = event.get("text")
        if type(text) is str:
            self.queue(self.frames[text] if len(text) <= LONG else self.frames.long(text))
        elif text is not None:
            self.queue(self.frames.text(text))

    async def _expect_send(self, event: Event) -> None:
        """Wait until a message may be queued."""
        if event["type"] != "websocket.send" or (self._closed_by_app and not self._lost):
            after = ", after sending 'websocket.close'" if self._closed_by_app else ""
            raise RuntimeError(
                f"Expected ASGI message 'websocket.send' or 'websocket.close', "
                f"but got '{event['type']}'{after}."
            )
        await self.writable()
        if not self.open:
            raise ClientDisconnected

    async def _shake_hands(self, handshake: Handshake, event: Event) -> None:
        await handshake.send(event)
        if self.handshake is not None and self.handshake.is_open:
            self._begin(self.handshake)

    def _begin(self, handshake: Handshake) -> None:
        """Take over, and let go of all that was only there for the handshake."""
        self.handshake = None
        handshake.hand_over(self)
        self.hub.connections.add(self)
        self.transport.set_protocol(self)
        self.open = self.ready = True
        if handshake.paused:
            self.pause_writing()
        if self.hub.pings is not None:
            self.hub.pings.add(self)
        if self._reading_paused:
            self.resume_reading()

    def early(self, data: bytes) -> None:
        """Keep what a client sends before it is accepted; no more is read until then."""
        if self._buffer is None:
            self._buffer = bytearray()
            self._reading_paused = True
            self.transport.pause_reading()
        self._buffer += data

    # Endings

    def _finish(self, code: int) -> None:
        """The application has ended."""
        if self.handshake is not None:
            self.handshake.refuse()
            self.release()
        elif self.open and not self._answered():
            self._send_close(code, "")

    def release(self) -> None:
        """Let go of a handshake that came to nothing, so that both are freed at once."""
        self._lost = True
        self.handshake = self.inbox.reader = None

    def _close(self, event: Event) -> None:
        """The application closes; what the client does meanwhile is no error of its."""
        if self._lost:
            raise ClientDisconnected
        if self._closed_by_app:
            raise RuntimeError(
                "Unexpected ASGI message 'websocket.close', after sending it before."
            )
        if self.open and not self._answered():
            self._send_close(event.get("code", CloseCode.NORMAL_CLOSURE), event.get("reason") or "")
            self._closed_by_app = True

    def _send_close(self, code: int | None, reason: str) -> None:
        """Begin the closing handshake; ``ProtocolError`` for a code that must not be sent."""
        parser = self.need_parser()
        parser.send_close(code, reason)
        self._answer(parser)
        self._end(disconnect(CloseCode.NO_STATUS_RCVD if code is None else code, reason))
        self.hub.closings.add(self)
        if self._reading_paused:  # the client's answer may be behind what nobody will receive
            self.inbox.full = False
            self.resume_reading()

    def closed_by_client(self, close: Close, payload: bytes) -> None:
        """Answer once the application has taken, and so could answer, what came before the close frame."""
        self.inbox.on_empty = partial(self._echo_close, close, payload)
        if self.inbox.is_empty:
            self.answer_close()
        else:
            self.hub.leave(self)
            self.hub.leaving.add(self)

    def answer_close(self) -> None:
        if self.inbox.on_empty is not None:
            self.inbox.on_empty()

    def _answered(self) -> bool:
        """Whether the client has closed first, which is answered now if it is not yet."""
        waiting = self.inbox.on_empty is not None
        self.answer_close()
        return waiting

    def _echo_close(self, close: Close, payload: bytes) -> None:
        self.inbox.on_empty = None
        self.queue(frame(CLOSE, payload))
        self.ended(close, clean=True)

    def ended(self, close: Close, *, clean: bool) -> None:
        self._end(disconnect(close.code, close.reason))
        if clean:
            self.transport.close()
            self.hub.closings.add(self)
        else:
            self._linger()

    def _linger(self) -> None:
        """Say that nothing more is sent, and read on until the client closes.

        Closing at once, with bytes unread, would reset the connection, and the reset may overtake
        the close frame that tells the client why.
        """
        if not self.transport.can_write_eof():  # TLS
            self.transport.close()
        else:
            self.transport.write_eof()
            if self._reading_paused:
                self._reading_paused = False
                self.transport.resume_reading()
        self.hub.lingering.add(self)

    def shutdown(self) -> None:
        """uvicorn stops. A client has ``LINGER`` seconds to take what is queued, and to answer."""
        if self.open and not self._answered():
            self._send_close(SHUTDOWN, "")
        self.hub.closings.discard(self)
        self.hub.lingering.add(self)

    def _end(self, event: Event) -> None:
        self.end()
        self.flush()
        self.hub.leave(self)
        self.inbox.put_nowait(event)

    def abort(self) -> None:
        self.transport.abort()

    def eof_received(self) -> None:
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = self._broken = True
        self.answer_close()  # which tells the application how the client left
        self.parser = self._buffer = self.inbox.reader = None
        self.hub.connections.discard(self)
        self._end(disconnect(CloseCode.ABNORMAL_CLOSURE))

    # Keepalive

    def ping(self) -> None:
        """Send a ping; its answer is due within ``ws_ping_timeout`` seconds."""
        self._ping = random.getrandbits(32).to_bytes(4, "big")
        self.queue(frame(PING, self._ping))
        deadlines = self.hub.pings if self.hub.pongs is None else self.hub.pongs
        if deadlines is not None:
            deadlines.add(self)

    def ponged(self, payload: bytes) -> None:
        hub = self.hub
        if payload != self._ping or not self.open:
            return
        self._ping = None
        if hub.pings is not None and hub.pongs is not None:
            hub.pongs.discard(self)
            hub.pings.add(self)

    def ping_unanswered(self) -> None:
        """Close, unless the answer may be among what waits to be read."""
        if self._reading_paused and self.hub.pongs is not None:
            self.hub.pongs.add(self)
        else:
            self.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")

    def resume_reading(self) -> None:
        super().resume_reading()
        if self.hub.pongs is not None and self.hub.pongs.discard(self):
            self.hub.pongs.add(self)
