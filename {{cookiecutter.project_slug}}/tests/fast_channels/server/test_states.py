"""The invariants of a connection, after whatever its application, client, server and clock do."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import uvicorn
from hypothesis import given, strategies as st
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.server import ServerState

from fast_channels.server.connection import Phase, WebSocketProtocol
from fast_channels.server.shared import Deadlines

from ..support.properties import sequences
from ..support.protocol_fuzz import Wire
from ..support.raw_websocket import CLOSE, PING, PONG, TEXT, close_frame, frame

AFTER_OPEN = (Phase.CLOSED, Phase.CLOSED_BY_APPLICATION, Phase.LOST)
# From each phase to those that may follow it, as the diagram of the module has it.
WAYS = {
    Phase.OPEN: AFTER_OPEN,
    Phase.CLOSED: (Phase.LOST,),
    Phase.CLOSED_BY_APPLICATION: (Phase.LOST,),
    Phase.LOST: (),
}


class World:
    """A connection that is open, and what may happen to it."""

    def __init__(self) -> None:
        config = uvicorn.Config(cast(Any, None), ws_max_queue=2)
        self.wire = Wire()
        self.connection = WebSocketProtocol(config, ServerState(), {})
        self.shared = self.connection.shared
        self.connection.transport = cast(Any, self.wire)
        self.connection.begin()
        self.sending: list[asyncio.Task[None]] = []

    # The application

    def say(self) -> None:
        self._send({"type": "websocket.send", "text": "hello"})

    def close(self) -> None:
        self._send({"type": "websocket.close", "code": 4000})

    def _send(self, event: dict[str, Any]) -> None:
        async def sending() -> None:
            with suppress(ClientDisconnected, RuntimeError):
                await self.connection.send(event)

        self.sending.append(asyncio.create_task(sending()))

    def receive(self) -> None:
        buffer = self.connection.receive_buffer
        if not buffer.is_empty:
            with suppress(StopIteration):
                buffer.receive().send(None)
        else:
            self.connection.answer_close()

    def end(self) -> None:
        self.connection._close(1000)

    # The client

    def message(self) -> None:
        self._arrive(frame(TEXT, b"hello"))

    def part(self) -> None:
        self._arrive(frame(TEXT, b"hel", fin=False))

    def rest(self) -> None:
        self._arrive(frame(0, b"lo"))

    def bad(self) -> None:
        self._arrive(frame(TEXT, b"hello", rsv=2))

    def question(self) -> None:
        self._arrive(frame(PING, b"?"))

    def pong(self) -> None:
        self._arrive(frame(PONG, self.connection._ping or b""))

    def leave(self) -> None:
        self._arrive(close_frame(1001))

    def _arrive(self, data: bytes) -> None:
        if self.connection.phase is not Phase.LOST and not self.wire.closing:
            self.connection.data_received(data)

    def vanish(self) -> None:
        if self.connection.phase is not Phase.LOST:
            self.wire.closing = True
            self.connection.connection_lost(None)

    # The transport, the clock, the server

    def pause(self) -> None:
        self.connection.pause_writing()

    def resume(self) -> None:
        self.connection.resume_writing()

    def time_passes(self) -> None:
        """The connection's deadline, if it has one, expires."""
        for deadlines in self.deadlines():
            deadlines.discard(self.connection)
            deadlines._expired(self.connection)

    def shutdown(self) -> None:
        if self.connection.phase is not Phase.LOST:
            self.connection.shutdown()

    def deadlines(self) -> list[Deadlines[Any]]:
        every = (each for each in vars(self.shared).values() if isinstance(each, Deadlines))
        return [each for each in every if self.connection in each._due]

    def frames(self) -> list[int]:
        """The opcodes of what has been written."""
        opcodes, rest = [], b"".join(self.wire.written)
        while rest:
            opcodes.append(rest[0] & 0x0F)
            rest = rest[2 + rest[1] :]  # all are short
        return opcodes


ACTIONS: list[Callable[[World], None]] = [
    World.say,
    World.close,
    World.receive,
    World.end,
    World.message,
    World.part,
    World.rest,
    World.bad,
    World.question,
    World.pong,
    World.leave,
    World.vanish,
    World.pause,
    World.resume,
    World.time_passes,
    World.shutdown,
]


@sequences(300, 1)
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.booleans()), max_size=20))
def test_the_invariants_hold(steps: list[tuple[Callable[[World], None], bool]]) -> None:
    """Also where several things happen within one turn of the loop."""

    async def happen() -> None:
        world = World()
        for action, turn in steps:
            before = world.connection.phase
            action(world)
            if turn:
                await asyncio.sleep(0)
                connection = world.connection
                assert not connection._reading_paused or connection.receive_buffer.full
            check(world, before)
        world.vanish()
        assert world.connection.phase is Phase.LOST
        async with asyncio.timeout(30):
            await asyncio.gather(*world.sending)
        assert world.deadlines() == []

    asyncio.run(happen())


def check(world: World, before: Phase) -> None:
    connection = world.connection
    phase, final = connection.phase, connection.receive_buffer.final
    assert phase is before or phase in WAYS[before]
    assert connection.ready == (phase is Phase.OPEN and not connection._paused)
    assert (final is None) == (phase is Phase.OPEN)
    waiting = world.deadlines()
    assert len(waiting) <= 1
    if phase is Phase.LOST:
        assert waiting == []
    elif phase is not Phase.OPEN and not world.wire.closing:
        assert waiting, "nothing would ever end the connection"
    frames = world.frames()
    if (
        CLOSE in frames
    ):  # pings are still answered, unless the client has closed too (RFC 6455, 5.5.2)
        assert set(frames[frames.index(CLOSE) + 1 :]) <= {PONG}
