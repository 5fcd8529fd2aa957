"""One connection to Redis that many callers share.

Commands issued in one turn of the event loop leave in one write; replies are matched in the order
of the commands, as the Redis protocol guarantees. Only public methods of redis-py's connection are
used: it connects, authenticates, packs commands and parses replies.

Invariants
- Each command's future is settled exactly once: by its reply, or by ``LinkLost`` when the
  connection ends, and then nobody knows whether the command was executed.
- At most ``MAX_PENDING`` commands wait for a reply; a caller over that waits for its turn.
- A server that answers nothing for ``REPLY_TIMEOUT`` seconds counts as lost.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

HEARTBEAT = 1.0  # seconds between looks at the connection, and between PINGs on an idle one
REPLY_TIMEOUT = 3.0
WAIT_MS = 1000  # less than REPLY_TIMEOUT; it is repeated until the caller gives up
MAX_PENDING = 10_000

PUSHES = {
    b"message",
    b"smessage",
    b"subscribe",
    b"ssubscribe",
    b"unsubscribe",
    b"sunsubscribe",
}

OnMessage = Callable[[bytes, bytes], None]
OnEnded = Callable[[bytes], None]
Reply = Any
Command = tuple[Any, ...]


class LinkLost(ConnectionError):
    """The connection ended before the reply came."""


class Link:
    """``on_message(channel, payload)`` makes it a subscriber's link; see ``Subscriber``.

    ``on_ended(channel)`` is called when the server says that a subscription has ended.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        on_message: OnMessage | None = None,
        on_ended: OnEnded | None = None,
    ) -> None:
        self._connection = connection
        self._on_message = on_message
        self._on_ended = on_ended
        self._replication: asyncio.Future[Reply] | None = None
        self._outbox: list[Command] = []
        self._outgoing = asyncio.Event()
        self._pending: deque[tuple[float, asyncio.Future[Reply]]] = deque()
        self._room = asyncio.Event()
        self._room.set()
        self._lost: Exception | None = None

    async def run(self) -> None:
        """Read and write until the connection is lost, then raise the reason."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write())
                tasks.create_task(self._watch())
                await self._read()
        except BaseExceptionGroup as group:
            self._lose(cast(Exception, group.exceptions[0]))
            raise group.exceptions[0] from None
        except BaseException:
            self._lose(LinkLost("The connection was closed"))
            raise
        finally:
            await self._connection.disconnect(nowait=True)

    async def call(self, *command: Any) -> Reply:
        """Send a command and wait for its reply; raises redis-py's ``ResponseError`` or LinkLost."""
        while not self._room.is_set():
            await self._room.wait()
        return await self.post(*command)

    async def call_replicated(self, *command: Any) -> Reply:
        """As ``call``, but returns only when a replica has confirmed what the command wrote.

        Commands of one turn share one WAIT, which goes out behind them in the same write.
        """
        while not self._room.is_set():
            await self._room.wait()
        reply = self.post(*command)
        if self._replication is None and self._lost is None:
            self._replication = asyncio.get_running_loop().create_future()
            self._replication.add_done_callback(_retrieve)
        confirmed = self._replication
        result = await reply
        replicas = 0 if confirmed is None else await asyncio.shield(confirmed)
        while not replicas:
            replicas = await self.call("WAIT", 1, WAIT_MS)
        return result

    def post(self, *command: Any) -> "asyncio.Future[Reply]":
        """Send a command now; the future gets its reply, and may be left alone."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        if self._lost is not None:
            future.set_exception(LinkLost(str(self._lost)))
        else:
            self.cast(*command)
            self._pending.append((time.monotonic(), future))
            if len(self._pending) >= MAX_PENDING:
                self._room.clear()
        future.add_done_callback(_retrieve)
        return future

    def cast(self, *command: Any) -> None:
        """Send a command that has no reply of its own, such as SUBSCRIBE."""
        if self._lost is None:
            self._outbox.append(command)
            self._outgoing.set()

    async def _write(self) -> None:
        while True:
            await self._outgoing.wait()
            self._outgoing.clear()
            if self._replication is not None:
                self._outbox.append(("WAIT", 1, WAIT_MS))
                self._pending.append((time.monotonic(), self._replication))
                self._replication = None
            commands, self._outbox = self._outbox, []
            packed = self._connection.pack_commands(commands)
            await self._connection.send_packed_command(packed, check_health=False)

    async def _read(self) -> None:
        while True:
            reply: Reply
            try:
                reply = await self._connection.read_response(disconnect_on_error=False)
            except ReadOnlyError:
                raise LinkLost("The server is a replica now") from None
            except ResponseError as error:
                reply = error
            if self._on_message is not None and self._is_push(reply):
                continue
            self._settle(reply)

    def _is_push(self, reply: Reply) -> bool:
        """Handle what a subscribed connection receives unasked; a PONG comes as a list there."""
        if not isinstance(reply, list):
            return False
        kind = reply[0]
        if kind in (b"message", b"smessage") and self._on_message is not None:
            self._on_message(reply[1], reply[2])
        elif kind in (b"unsubscribe", b"sunsubscribe") and self._on_ended is not None:
            self._on_ended(reply[1])
        return kind in PUSHES

    def _settle(self, reply: Reply) -> None:
        if not self._pending:
            raise LinkLost(f"The server sent what nobody asked for: {reply!r:.100}")
        _, future = self._pending.popleft()
        if len(self._pending) < MAX_PENDING:
            self._room.set()
        if future.done():
            return  # its caller was cancelled
        if isinstance(reply, Exception):
            future.set_exception(reply)
        else:
            future.set_result(reply)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            if not self._pending:
                self.post("PING")
            elif time.monotonic() - self._pending[0][0] > REPLY_TIMEOUT:
                raise LinkLost(f"The server sent no reply for {REPLY_TIMEOUT} s")

    def _lose(self, reason: Exception) -> None:
        self._lost = reason
        self._room.set()
        if self._replication is not None:
            self._pending.append((0.0, self._replication))
        for _, future in self._pending:
            if not future.done():
                future.set_exception(LinkLost(str(reason)))
        self._pending.clear()


def _retrieve(future: "asyncio.Future[Reply]") -> None:
    if not future.cancelled():
        future.exception()  # a posted command that nobody awaits must not be reported as forgotten


CONNECTION_ERRORS = (RedisError, OSError, asyncio.TimeoutError)
