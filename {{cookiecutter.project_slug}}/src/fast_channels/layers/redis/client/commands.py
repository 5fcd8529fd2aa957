"""Commands of one topic, executed where it lives, and the connection that is kept for them.

Invariants
- A caller gets the reply, or ``ChannelLayerUnavailable`` at its deadline at the latest. There is one
  ladder of attempts, ``Commands.complete``, for a server and for a Cluster.
- A command that is not repeatable and whose connection is lost before the reply is not sent again,
  since it may have been executed.
- ``connection`` is never one that is lost: a caller that repeats a command at each loss would not end.
- A server has at most one at a time; when it is lost, attempts to make a new one back off from 0.05 to 1 s,
  with jitter, for ever. Each attempt asks the Sentinels anew.
- The task that keeps it is an ordinary task of the loop: when the loop ends its tasks, as
  ``asyncio.run`` does, the connection ends too. It ends also if its cancellation is swallowed below.
"""

import abc
import asyncio
import contextlib
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from redis.asyncio.connection import ConnectionPool
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import NoScriptError, RedisError

from ....exceptions import ChannelLayerUnavailable
from ....tasks import cancel_and_wait, is_cancelled
from .connection import (
    CONNECTION_ERRORS,
    REPLY_TIMEOUT,
    Command,
    Connection,
    ConnectionLost,
    OnEnded,
    OnMessage,
    Reply,
)
from .hosts import Endpoint, close_pool

logger = logging.getLogger(__name__)

# In a command, what reaches its topic's listeners, and how: on a connection, in order. A Cluster puts
# SPUBLISH there if it shards them; else they go over its bus, which may lose or reorder them.
PUBLISH, DIRECT = "PUBLISH", "direct"

FIRST_PAUSE = 0.05  # seconds
LONGEST_PAUSE = 1.0
FOLLOW_INTERVAL = 1.0  # seconds between two questions to the Sentinels


class Commands(abc.ABC):
    """Executes commands where a topic lives. ``timeout`` is in seconds."""

    def __init__(self, timeout: float, changed: asyncio.Event) -> None:
        self.timeout = timeout
        self._changed = changed

    # Where

    @property
    @abc.abstractmethod
    def connection(self) -> Connection | None:
        """The open connection to where the topic lives now, if there is one.

        ``changed`` is set, and cleared at once, when there may be one.
        """

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

    @property
    def part(self) -> object:
        """The same for all topics that one command may name."""
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


class KeptConnection(Commands):
    """For all topics of one server, or of whatever primary the Sentinels name.

    ``on_open(connection)`` is awaited on each new one before anybody else may use it; ``changed`` may be
    shared with others. For the other callbacks see ``Connection``.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        timeout: float,
        *,
        changed: asyncio.Event | None = None,
        on_open: Callable[[Connection], Awaitable[None]] | None = None,
        on_lost: Callable[[], None] = lambda: None,
        on_message: OnMessage | None = None,
        on_ended: OnEnded | None = None,
    ) -> None:
        super().__init__(timeout, changed or asyncio.Event())
        self.endpoint = endpoint
        self.last_error: BaseException | None = None
        self._on_open = on_open
        self._on_lost = on_lost
        self._on_message = on_message
        self._on_ended = on_ended
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._pause = FIRST_PAUSE

    def __str__(self) -> str:
        return str(self.endpoint)

    def start(self) -> None:
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name=f"redis {self.endpoint}")

    async def aclose(self) -> None:
        if self._keeper is not None:
            await cancel_and_wait([self._keeper])
            self._keeper = None

    @property
    def connection(self) -> Connection | None:
        return self._connection

    @property
    def down(self) -> bool:
        """An outage is known: the last attempt failed, or the last connection was lost."""
        return self._connection is None and self.last_error is not None

    def unavailable(self) -> ChannelLayerUnavailable:
        return ChannelLayerUnavailable(
            f"Redis ({self}) did not answer within {self.timeout} s; "
            f"last error: {self.last_error or 'none'}"
        )

    async def _keep(self) -> None:
        pool = self.endpoint.pool()
        try:
            while True:
                try:
                    await self._hold(pool)
                except Exception as error:
                    if is_cancelled():  # the loss came in the same step, in place of CancelledError
                        raise asyncio.CancelledError from error
                    self._note(error)
                    self._drop()
                await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))
                self._pause = min(self._pause * 2, LONGEST_PAUSE)
        finally:
            if not self._loop.is_closed():  # else nothing can be awaited, nor told
                self._drop()
                with contextlib.suppress(*CONNECTION_ERRORS):
                    await close_pool(pool)

    def _note(self, error: Exception) -> None:
        if str(error) != str(self.last_error):  # an outage is told once, not at each attempt
            expected = isinstance(error, CONNECTION_ERRORS)
            log = logger.warning if expected else logger.exception
            log("No connection to Redis (%s): %s", self, error)
        self.last_error = error

    async def _hold(self, pool: ConnectionPool) -> None:
        """Make a connection and keep it; raises when it is lost."""
        redis_connection = pool.make_connection()
        redis_connection.socket_timeout = REPLY_TIMEOUT  # in its introduction
        running: list[asyncio.Task[None]] = []
        try:
            await redis_connection.connect()
            # It opens also without the password, or while the server loads: who would refuse every
            # command is no server yet, so that the attempts back off and the outage is told once.
            await redis_connection.send_command("PING", check_health=False)
            await redis_connection.read_response()
            if is_cancelled():  # redis-py has swallowed it, by the wait_for of Python 3.11
                raise asyncio.CancelledError
            connection = Connection(redis_connection, self._on_message, self._on_ended, self._drop)
            running.append(asyncio.create_task(connection.run()))
            if isinstance(pool, SentinelConnectionPool):
                running.append(asyncio.create_task(self._follow(pool, connection)))
            if self._on_open is not None:
                await self._on_open(connection)
            self._opened(connection)
            await running[0]
        finally:
            if not self._loop.is_closed():
                await cancel_and_wait(running)
                await redis_connection.disconnect(nowait=True)

    def _opened(self, connection: Connection) -> None:
        self._connection = connection
        if connection.lost:  # while it opened
            self._drop()
            return
        self._changed.set()
        self._changed.clear()
        self._pause = FIRST_PAUSE  # when this one is lost, the first attempt comes soon
        if self.last_error is not None:
            logger.info("Connected to Redis (%s) again", self)
            self.last_error = None

    async def _follow(self, pool: SentinelConnectionPool, connection: Connection) -> None:
        """End the connection when the Sentinels name another primary.

        One that was frozen, or cut off, answers when it is back as if nothing had happened, until
        the Sentinels make it a replica, some ten seconds later.
        """
        followed = pool.master_address
        while True:
            await asyncio.sleep(FOLLOW_INTERVAL)
            with contextlib.suppress(RedisError, asyncio.TimeoutError):
                host, port = named = await pool.get_master_address()
                if named != followed:
                    connection.lose(
                        ConnectionLost(f"The Sentinels name another primary, {host}:{port}")
                    )
            if is_cancelled():  # redis-py has swallowed it while it asked
                raise asyncio.CancelledError

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection = None
            self._on_lost()


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
