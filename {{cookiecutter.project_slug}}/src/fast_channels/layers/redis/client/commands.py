"""Commands of many callers: on one connection that they share, and tried again where their topic lives.

redis-py makes a connection: address, TLS, authentication, its own introduction. Then ``Connection`` takes
over the transport. What is used below redis-py's public interface is ``_transport_of``.

Invariants of a connection
- Commands issued in one turn of the event loop leave in one write; replies are matched in the order of
  the commands, as the Redis protocol guarantees.
- Each command's future is settled exactly once: by its reply; by ``TimeoutError`` at its deadline; or
  by ``ConnectionLost`` when the connection ends. After the last two nobody knows whether it was executed.
- A place in the order of replies stays with its command, also after its future is settled.
- At most ``MAX_PENDING`` commands wait for a reply, none goes out while the transport's buffer is
  full; a caller over that waits for its turn, and turns come in the order of the callers.
- A server that answers nothing for ``REPLY_TIMEOUT`` seconds counts as lost. Time in which the event
  loop stood still is not the server's.

Invariants of a topic's commands
- A caller gets the reply, or ``ChannelLayerUnavailable`` at its deadline at the latest. There is one
  ladder of attempts, ``Commands.complete``, for a server and for a Cluster.
- A command that is not repeatable and whose connection is lost before the reply is not sent again,
  since it may have been executed.
- ``connection`` is never one that is lost: a caller that repeats a command at each loss would not end.
"""

import abc
import asyncio
import hashlib
import math
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, cast

import hiredis
from redis.asyncio.connection import AbstractConnection, DefaultParser
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from ....exceptions import ChannelLayerUnavailable

HEARTBEAT = 1.0  # seconds between looks at the connection, and between PINGs on an idle one
REPLY_TIMEOUT = 3.0
MAX_PENDING = 1_000  # what Redis executes in well under a second, and more than keeps it busy
LATE = 0.1  # seconds after its time at which an alarm says that the loop stood still
NEVER = math.inf

MESSAGES = {b"message", b"smessage"}
ENDINGS = {b"unsubscribe", b"sunsubscribe"}
BEGINNINGS = {b"subscribe", b"ssubscribe"}

OnMessage = Callable[[bytes, bytes], None]
OnEnded = Callable[[bytes], None]
Reply = Any
Command = tuple[Any, ...]

CONNECTION_ERRORS = (RedisError, OSError, asyncio.TimeoutError)

# Words in a command, for which a Cluster puts its own (``adapted``). PUBLISH tells the topic's listeners; if
# the Cluster shards them it is SPUBLISH. DIRECT says that this happens on one connection, in order; unsharded
# it goes "by bus" of the Cluster, which may lose notifications or have them overtake each other.
PUBLISH, DIRECT = "PUBLISH", "direct"
# 1,000 ms are less than REPLY_TIMEOUT; it is repeated until the caller gives up.
WAIT: Command = ("WAIT", 1, 1000)


class Pending(Protocol):
    """What waits for a reply: an ``asyncio.Future``, or what is settled as one is."""

    def done(self) -> bool: ...

    def set_result(self, reply: Reply, /) -> None: ...

    def set_exception(self, error: Exception, /) -> None: ...


class ConnectionLost(ConnectionError):
    """The connection ended before the reply came."""


class Connection(asyncio.Protocol):
    """``on_message(channel, payload)`` makes it one for subscriptions, see ``Server``.

    ``on_ended(channel)`` is called when the server says that a subscription has ended; ``on_lost()``
    when the connection is lost, before any caller goes on.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        on_message: OnMessage | None = None,
        on_ended: OnEnded | None = None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._redis_connection = connection
        self._on_message = on_message
        self._on_ended = on_ended
        self._on_lost = on_lost
        self._reader = hiredis.Reader(replyError=DefaultParser.parse_error)
        self._unwritten: list[bytes] = []
        self._will_write = False  # soon
        self._writable = True
        self._pending: deque[tuple[Pending, float]] = deque()  # and deadlines
        self._turns: deque[tuple[Pending, float, Callable[[], None]]] = deque()  # not written yet
        self._heard_at = NEVER  # when the server last spoke, or was first asked after a silence
        self._replication: asyncio.Future[Reply] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = NEVER
        self._put_off = False
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._transport = _transport_of(connection)
        self._transport.set_protocol(self)

    async def run(self) -> None:
        """Look after the connection until it is lost, then raise the reason."""
        try:
            while not self._ended.done():
                due = self._loop.time() + HEARTBEAT
                await asyncio.wait([self._ended], timeout=HEARTBEAT)
                self._check(late=max(self._loop.time() - due, 0.0))
            self._ended.result()
        finally:
            if not self._loop.is_closed():
                self.lose(ConnectionLost("The connection was closed"))
                await self._redis_connection.disconnect(nowait=True)

    @property
    def lost(self) -> bool:
        """Each command fails at once."""
        return self._ended.done()

    # Commands

    def execute(
        self, command: Command, deadline: float, *, again: bool = False
    ) -> "asyncio.Future[Reply]":
        """Send a command, now if there is room; to be awaited for its reply.

        Raises redis-py's ``ResponseError``, ``ConnectionLost``, or ``TimeoutError`` at ``deadline``, a time
        of the event loop's clock. What is sent ``again`` has had its turn.
        """
        reply = self._loop.create_future()
        if again or self.has_room:
            self.send(command, reply, deadline)
            self.write_soon()
        else:
            self.when_room(partial(self.send, command, reply, deadline), reply, deadline)
        return reply

    async def execute_replicated(
        self, command: Command, deadline: float, *, again: bool = False
    ) -> Reply:
        """As ``execute``, but returns only when a replica has confirmed what the command wrote.

        Commands of one turn share one WAIT, which goes out behind them in the same write.
        """
        leaves = again or self.has_room
        reply = self.execute(command, deadline, again=again)
        confirmed = self._confirmation() if leaves else None
        result = await reply
        async with asyncio.timeout_at(None if deadline == NEVER else deadline):
            while confirmed is None or not await asyncio.shield(confirmed):
                confirmed = self._confirmation()
        return result

    def post(self, *command: Any) -> None:
        """Send a command whose reply nobody needs, at once."""
        self.execute(command, NEVER, again=True).add_done_callback(_retrieve)

    def cast(self, *command: Any) -> None:
        """Send a command that has no reply of its own, such as SUBSCRIBE."""
        self._unwritten.append(hiredis.pack_command(command))
        self.write_soon()

    # Room

    @property
    def has_room(self) -> bool:
        """For one more command, and nobody waits for a turn; also if the connection is lost."""
        return not self._turns and self._writable and len(self._pending) < MAX_PENDING

    def when_room(self, turn: Callable[[], None], reply: Pending, deadline: float = NEVER) -> None:
        """Have ``turn()`` called when there is room for one command, or when the connection is lost; not
        if ``reply`` is settled before, as it is by ``TimeoutError`` at ``deadline``.
        """
        self._turns.append((reply, deadline, turn))
        if deadline < self._alarm_at:
            self._set_alarm(deadline)

    def _make_room(self) -> None:
        while self._turns and self._writable and len(self._pending) < MAX_PENDING:
            reply, _, turn = self._turns.popleft()
            if not reply.done():
                turn()
                self.write_soon()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._make_room()

    # Writing

    def send(self, command: Command, reply: Pending, deadline: float) -> None:
        """Let a command leave with the next ``write_pending()``, also if there is no room for it.

        ``reply`` is settled as the future that ``execute`` returns.
        """
        if self._ended.done():
            reply.set_exception(self._reason())
            return
        self._unwritten.append(hiredis.pack_command(command))
        if deadline < self._alarm_at:
            self._set_alarm(deadline)
        if not self._pending:
            self._heard_at = self._loop.time()
        self._pending.append((reply, deadline))

    def write_soon(self) -> None:
        """``write_pending()`` when what runs in this turn of the loop has run."""
        if not self._will_write:
            self._will_write = True
            self._loop.call_soon(self.write_pending)

    def write_pending(self) -> None:
        self._will_write = False
        if self._replication is not None:
            self.send(WAIT, self._replication, NEVER)
            self._replication = None
        data = b"".join(self._unwritten)
        self._unwritten.clear()
        if data and not self._ended.done():
            self._transport.write(data)

    def _confirmation(self) -> "asyncio.Future[Reply]":
        """How many replicas have what leaves with the next write, and before."""
        if self._replication is None:
            self._replication = self._loop.create_future()
            self._replication.add_done_callback(_retrieve)
            self.write_soon()
        return self._replication

    # Reading

    def data_received(self, data: bytes) -> None:
        if self._ended.done():
            return
        self._heard_at = self._loop.time()
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                if self._on_message is None or not self._is_push(reply):
                    self._settle(reply)
        except hiredis.ProtocolError as error:
            self.lose(ConnectionLost(f"What the server sent is no reply: {error}"))
        except Exception as error:
            self.lose(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lose(ConnectionLost(f"The connection was lost: {exc or 'the server closed it'}"))

    def _is_push(self, reply: Reply) -> bool:
        """Handle what a subscribed connection receives unasked; a PONG comes as a list there."""
        if not isinstance(reply, list):
            return False
        kind = reply[0]
        if kind in MESSAGES and self._on_message is not None:
            self._on_message(reply[1], reply[2])
            return True
        if kind in ENDINGS and self._on_ended is not None:
            self._on_ended(reply[1])
        return kind in ENDINGS or kind in BEGINNINGS

    def _settle(self, reply: Reply) -> None:
        if not self._pending:
            raise ConnectionLost(f"The server sent what nobody asked for: {reply!r:.100}")
        future, _ = self._pending.popleft()
        if self._turns:
            self._make_room()
        if not isinstance(reply, Exception):
            if not future.done():  # else its caller was cancelled, or has given up
                future.set_result(reply)
        elif isinstance(reply, ReadOnlyError) or not isinstance(reply, ResponseError):
            self._pending.appendleft((future, NEVER))  # lost like those behind it
            raise ConnectionLost(f"The server is not to be used: {reply}")
        elif not future.done():
            future.set_exception(reply)

    # Time

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = None if at == NEVER else self._loop.call_at(at, self._expire_deadlines)

    def _expire_deadlines(self) -> None:
        """One timer for all callers: whose deadline is over gives up, and the next one is set."""
        now = self._loop.time()
        if now - self._alarm_at > LATE and not self._put_off:
            self._put_off = True  # the loop stood still: what has come meanwhile is read first
            self._set_alarm(now + LATE)
            return
        self._put_off = False
        following = NEVER
        waiting = ((reply, deadline) for reply, deadline, _ in self._turns)
        for reply, deadline in chain(self._pending, waiting):
            if reply.done():
                continue
            if deadline <= now:
                reply.set_exception(TimeoutError())
            else:
                following = min(following, deadline)
        self._set_alarm(following)

    def _check(self, late: float) -> None:
        if self._ended.done():
            return
        self._heard_at += late
        if not self._pending:
            self.post("PING")
        elif self._loop.time() - self._heard_at > REPLY_TIMEOUT:
            self.lose(ConnectionLost(f"The server sent no reply for {REPLY_TIMEOUT} s"))

    # The end

    def lose(self, reason: Exception) -> None:
        """Whoever waits is told, and ``run`` raises the reason."""
        if self._ended.done():
            return
        self._ended.set_exception(reason)
        self._ended.add_done_callback(_retrieve)
        self._set_alarm(NEVER)
        for reply, _ in self._pending:
            if not reply.done():
                reply.set_exception(self._reason())
        self._pending.clear()
        self._on_lost()
        self.resume_writing()  # everybody is told at once

    def _reason(self) -> ConnectionLost:
        return ConnectionLost(str(self._ended.exception()))


def _retrieve(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()  # one that nobody awaits must not be reported as forgotten


def _transport_of(connection: AbstractConnection) -> asyncio.Transport:
    """What redis-py 5 to 8 write to; after ``connect()`` no byte is under way on it."""
    writer = connection._writer
    if writer is None:
        raise ConnectionLost("The connection is not open")
    return cast(asyncio.Transport, writer.transport)


class Commands(abc.ABC):
    """Executes commands where a topic lives. ``timeout`` is in seconds."""

    def __init__(self, timeout: float, changed: asyncio.Event) -> None:
        self.timeout = timeout
        self._changed = changed
        self._connection: Connection | None = None

    # Where

    @property
    def connection(self) -> Connection | None:
        """The open connection to where the topic lives now, if there is one.

        ``changed`` is set, and cleared at once, when there may be one.
        """
        return self._connection

    @abc.abstractmethod
    def start(self) -> None:
        """See to it that there will be one."""

    async def connected(self, deadline: float) -> Connection:
        """Wait for that, until a time of the event loop's clock; ``ChannelLayerUnavailable`` then."""
        try:
            async with asyncio.timeout_at(deadline):
                while (connection := self.connection) is None:
                    self.start()
                    await self._changed.wait()
                return connection
        except TimeoutError:
            raise self.unavailable() from None

    @property
    def server(self) -> object:
        """Stands for the server; the same for all topics that live there at the moment."""
        return self

    @abc.abstractmethod
    def unavailable(self) -> ChannelLayerUnavailable:
        """What a caller is told when its time is over."""

    def adapted(self, command: Command) -> Command:
        """The command as that server takes it."""
        return command

    # What

    def execute(self, *command: Any, replicated: bool = False) -> Awaitable[Reply]:
        """``complete`` within ``timeout``."""
        deadline = asyncio.get_running_loop().time() + self.timeout
        return self.complete(command, deadline, replicated=replicated)

    async def complete(
        self,
        command: Command,
        deadline: float,
        *,
        repeatable: bool = True,
        replicated: bool = False,
        after: Exception | None = None,
    ) -> Reply:
        """The reply to a command, across reconnections if it is ``repeatable``.

        ``replicated`` waits until a replica has confirmed it as well. ``after`` is how a first attempt
        ended. ``ChannelLayerUnavailable`` also if the server refuses the command.
        """
        while True:
            if after is not None:
                command = await self._overcome(after, command, deadline, repeatable)
            try:
                return await self._attempt(command, deadline, replicated, again=after is not None)
            except (ConnectionLost, RedisError, TimeoutError) as error:
                after = error

    async def _attempt(
        self, command: Command, deadline: float, replicated: bool, *, again: bool
    ) -> Reply:
        connection = self.connection or await self.connected(deadline)
        execute = connection.execute_replicated if replicated else connection.execute
        return await execute(self.adapted(command), deadline, again=again)

    async def _overcome(
        self, failure: Exception, command: Command, deadline: float, repeatable: bool
    ) -> Command:
        """What to try next, or raises what the caller is told."""
        if isinstance(failure, NoScriptError):
            return with_source(command)
        lost = isinstance(failure, ConnectionLost)
        if lost and repeatable:
            return command
        if isinstance(failure, TimeoutError):
            raise self.unavailable() from failure
        if lost:
            told = f"The connection to Redis ({self}) was lost before {command[0]} was confirmed"
        else:
            told = f"Redis ({self}) refused {command[0]}"
        raise ChannelLayerUnavailable(f"{told}: {failure}") from failure


# Scripts

_sources: dict[str, str] = {}  # by digest


class Script:
    """A Lua script, called by its digest, which is all that a server needs that has seen it before.

    ``paths`` are its parts, one behind the other.
    """

    def __init__(self, *paths: Path) -> None:
        source = "\n".join(path.read_text(encoding="utf-8") for path in paths)
        # Redis names a script by its SHA-1; nothing here depends on that being secure.
        self._digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        _sources[self._digest] = source

    def command(self, keys: tuple[str, ...], *values: bytes | str | int) -> Command:
        return ("EVALSHA", self._digest, len(keys), *keys, *values)

    def run(
        self,
        commands: Commands,
        keys: tuple[str, ...],
        *values: bytes | str | int,
        replicated: bool = False,
    ) -> Awaitable[Reply]:
        """``replicated`` waits until a replica has what the script wrote."""
        return commands.execute(*self.command(keys, *values), replicated=replicated)


def with_source(command: Command) -> Command:
    """The call of a script that the server does not know, for it to learn."""
    _, digest, *arguments = command
    return ("EVAL", _sources[digest], *arguments)
