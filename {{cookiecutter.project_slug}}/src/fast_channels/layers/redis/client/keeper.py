"""Keeps a connection to an endpoint open, for as long as the event loop runs.

Invariants
- ``connection`` is never one that is lost: a caller that repeats a command at each loss would not end.
- There is at most one at a time; when it is lost, attempts to make a new one back off from 0.05 to 1 s,
  with jitter, for ever. Each attempt asks the Sentinels anew.
- The task that keeps it is an ordinary task of the loop: when the loop ends its tasks, as
  ``asyncio.run`` does, the connection ends too. It ends also if its cancellation is swallowed below.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import RedisError

from ....exceptions import ChannelLayerUnavailable
from ....tasks import cancel_and_wait, is_cancelled
from .commands import Commands
from .connection import CONNECTION_ERRORS, Connection, ConnectionLost, OnEnded, OnMessage
from .hosts import Endpoint, close_pool

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.05  # seconds
LONGEST_PAUSE = 1.0
FOLLOW_INTERVAL = 1.0  # seconds between two questions to the Sentinels


class NotConnected(TimeoutError):
    """There was no connection in time; nothing was sent."""


async def _nothing(_: Connection) -> None:
    pass


class KeptConnection(Commands):
    """For all topics of one server, or of whatever primary the Sentinels name.

    ``on_open(connection)`` is awaited on each new one before anybody else may use it. The other callbacks
    are those of ``Connection``, and ``on_lost()``.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        timeout: float,
        *,
        on_open: Callable[[Connection], Awaitable[None]] = _nothing,
        on_lost: Callable[[], None] = lambda: None,
        on_message: OnMessage | None = None,
        on_ended: OnEnded | None = None,
    ) -> None:
        super().__init__(timeout)
        self.endpoint = endpoint
        self.last_error: BaseException | None = None
        self._on_open = on_open
        self._on_lost = on_lost
        self._on_message = on_message
        self._on_ended = on_ended
        self._loop = asyncio.get_running_loop()
        self._opened = asyncio.Event()
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
    def down(self) -> bool:
        """An outage is known: the last attempt failed, or the last connection was lost."""
        return self._connection is None and self.last_error is not None

    async def connected(self, deadline: float) -> Connection:
        """Wait for an open connection; ``NotConnected`` at a time of the event loop's clock."""
        self.start()
        try:
            async with asyncio.timeout_at(deadline):
                while self._connection is None:
                    await self._opened.wait()
                return self._connection
        except TimeoutError:
            raise NotConnected from None

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
                    told = str(error) == str(self.last_error)
                    if not isinstance(error, CONNECTION_ERRORS) and not told:
                        logger.exception("The connection to Redis is dropped for a bug")
                    self._note(error)
                    self._drop()
                await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))
                self._pause = min(self._pause * 2, LONGEST_PAUSE)
        finally:
            if not self._loop.is_closed():  # else nothing can be awaited, nor told
                self._drop()
                with contextlib.suppress(*CONNECTION_ERRORS):
                    await close_pool(pool)

    async def _hold(self, pool: ConnectionPool) -> None:
        """Make a connection and keep it; raises when it is lost."""
        redis_connection = pool.make_connection()
        try:
            await redis_connection.connect()
            if is_cancelled():  # redis-py has swallowed it, by the wait_for of Python 3.11
                raise asyncio.CancelledError
            connection = Connection(redis_connection, self._on_message, self._on_ended, self._drop)
            await self._serve(connection, self._changed_primary(pool, redis_connection))
        finally:
            if not self._loop.is_closed():
                await redis_connection.disconnect(nowait=True)

    async def _serve(self, connection: Connection, ended: Coroutine[Any, Any, None]) -> None:
        """Raises when the connection is lost, or by ``ended`` because it should be given up."""
        running = [asyncio.create_task(connection.run()), asyncio.create_task(ended)]
        try:
            await self._on_open(connection)
            self._connection = connection
            if connection.lost:  # while it opened
                self._drop()
                await running[0]  # raises the reason
            self._opened.set()
            self._pause = FIRST_PAUSE  # when this one is lost, the first attempt comes soon
            if self.last_error is not None:
                logger.info("Connected to Redis (%s) again", self)
                self.last_error = None
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            if not self._loop.is_closed():
                await cancel_and_wait(running)

    async def _changed_primary(self, pool: ConnectionPool, current: AbstractConnection) -> None:
        """Raises when the Sentinels name another primary.

        One that was frozen, or cut off, answers when it is back as if nothing had happened, until
        the Sentinels make it a replica, some ten seconds later.
        """
        while isinstance(pool, SentinelConnectionPool):
            await asyncio.sleep(FOLLOW_INTERVAL)
            with contextlib.suppress(RedisError, asyncio.TimeoutError):
                host, port = await pool.get_master_address()
                if port != getattr(current, "port", None) or host != current.host:
                    raise ConnectionLost(f"The Sentinels name another primary, {host}:{port}")
            if is_cancelled():  # redis-py has swallowed it while it asked
                raise asyncio.CancelledError
        await asyncio.Event().wait()

    def _note(self, error: BaseException) -> None:
        if str(error) != str(self.last_error):  # an outage is told once, not at each attempt
            logger.warning("No connection to Redis (%s): %s", self, error)
        self.last_error = error

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection = None
            self._opened.clear()
            self._on_lost()
