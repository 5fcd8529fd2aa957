"""Keeps a link to an endpoint connected, for as long as the event loop runs.

Invariants
- ``link`` is never one that is lost: who repeats a command at each loss would not end.
- There is at most one connection at a time; when it is lost, attempts to make a new one back off
  from 0.05 to 1 s, with jitter, for ever. Each attempt asks the Sentinels anew.
- The task that keeps it is an ordinary task of the loop: when the loop ends its tasks, as
  ``asyncio.run`` does, the connection ends too. It ends also if its cancellation is swallowed below.
- ``execute`` gives up after ``timeout`` seconds, with ``ChannelLayerUnavailable``.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import NoScriptError, RedisError, ResponseError

from ...exceptions import ChannelLayerUnavailable
from ...tasks import cancel_and_wait, is_cancelled
from .endpoints import Endpoint, close_pool
from .link import CONNECTION_ERRORS, Command, Link, LinkLost, OnEnded, OnMessage, Pending, Reply
from .script import with_source

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.05  # seconds
LONGEST_PAUSE = 1.0
FOLLOW_INTERVAL = 1.0  # seconds between two questions to the Sentinels


class NotConnected(TimeoutError):
    """There was no connection in time; nothing was sent."""


async def _nothing(_: Link) -> None:
    pass


class PersistentLink:
    """``on_open(link)`` is awaited on each new connection before anybody else may use it."""

    def __init__(
        self,
        endpoint: Endpoint,
        timeout: float,
        *,
        on_open: Callable[[Link], Awaitable[None]] = _nothing,
        on_lost: Callable[[], None] = lambda: None,
        on_message: OnMessage | None = None,
        on_ended: OnEnded | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.timeout = timeout
        self._on_open = on_open
        self._on_lost = on_lost
        self._on_message = on_message
        self._on_ended = on_ended
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None
        self._opened = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._last_error: BaseException | None = None
        self._pause = FIRST_PAUSE

    @property
    def link(self) -> Link | None:
        """The open link, or None while there is none."""
        return self._link

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
        return self._link is None and self._last_error is not None

    async def connected(self) -> Link:
        """Wait for an open link."""
        self.start()
        while self._link is None:
            await self._opened.wait()
        return self._link

    by_bus = False

    @property
    def part(self) -> object:
        return self

    @property
    def server(self) -> object:
        return self

    def attempt(
        self,
        command: Command,
        deadline: float,
        *,
        connected_by: float | None = None,
        replicated: bool = False,
        again: bool = False,
    ) -> Awaitable[Reply]:
        """One try, until ``deadline``; the connection has to be there earlier, ``connected_by``.

        Both are times of the event loop's clock. ``NotConnected`` and ``TimeoutError`` when they are
        over: after the latter nobody knows whether the command was executed.
        """
        link = self._link
        if link is None:
            return self._attempt_later(
                command, deadline, connected_by or deadline, replicated, again
            )
        execute = link.execute_replicated if replicated else link.execute
        return execute(command, deadline, again=again)

    async def _attempt_later(
        self, command: Command, deadline: float, connected_by: float, replicated: bool, again: bool
    ) -> Reply:
        await self.connected_by(connected_by)
        return await self.attempt(command, deadline, replicated=replicated, again=again)

    async def connected_by(self, deadline: float) -> Link:
        """As ``connected``; ``NotConnected`` at a time of the event loop's clock."""
        try:
            async with asyncio.timeout_at(deadline):
                return await self.connected()
        except TimeoutError:
            raise NotConnected from None

    async def turn(self, deadline: float) -> None:
        """Wait for the connection, until ``deadline``, and for room on it; see ``Link.turn``."""
        try:
            link = await self.connected_by(deadline)
        except NotConnected:
            raise self.unavailable() from self._last_error
        await link.turn()

    def enlist(self, command: Command, reply: Pending, deadline: float) -> Link | None:
        """The link on which the command leaves with the next flush; None if there is none now.

        ``reply`` is settled by the outcome of this one attempt, after which ``complete`` goes on.
        """
        link = self._link
        return link if link is not None and link.enlist(command, reply, deadline) else None

    def execute(
        self, *command: Any, repeatable: bool = True, replicated: bool = False
    ) -> Awaitable[Reply]:
        """``complete`` within ``timeout``."""
        deadline = self._loop.time() + self.timeout
        return self.complete(command, deadline, repeatable=repeatable, replicated=replicated)

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

        ``replicated`` waits until a replica has confirmed it as well. ``after`` is how a first
        attempt ended that was made elsewhere.

        ``ChannelLayerUnavailable`` if the server refuses it. A command that is not repeatable
        and whose connection is lost before the reply raises at once, since it may have been executed.
        """
        again = False
        try:
            while True:
                try:
                    if after is not None:
                        error, after = after, None
                        raise error
                    return await self.attempt(command, deadline, replicated=replicated, again=again)
                except LinkLost:
                    if not repeatable:
                        raise
                except NoScriptError:
                    command = with_source(command)
                again = True
        except ResponseError as error:
            raise ChannelLayerUnavailable(
                f"Redis ({self.endpoint}) refused {command[0]}: {error}"
            ) from error
        except LinkLost as error:
            raise ChannelLayerUnavailable(
                f"The connection to Redis ({self.endpoint}) was lost before {command[0]} was "
                f"confirmed: {error}"
            ) from error
        except TimeoutError:
            raise self.unavailable() from self._last_error

    def unavailable(self) -> ChannelLayerUnavailable:
        return ChannelLayerUnavailable(
            f"Redis ({self.endpoint}) did not answer within {self.timeout} s; "
            f"last error: {self._last_error or 'none'}"
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
                    told = str(error) == str(self._last_error)
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
        connection = pool.make_connection()
        try:
            await connection.connect()
            if is_cancelled():  # redis-py has swallowed it, by the wait_for of Python 3.11
                raise asyncio.CancelledError
            link = Link(connection, self._on_message, self._on_ended, self._drop)
            await self._serve(link, self._changed_primary(pool, connection))
        finally:
            if not self._loop.is_closed():
                await connection.disconnect(nowait=True)

    async def _serve(self, link: Link, ended: Coroutine[Any, Any, None]) -> None:
        """Raises when the link is lost, or by ``ended`` because it should be given up."""
        running = [asyncio.create_task(link.run()), asyncio.create_task(ended)]
        try:
            await self._on_open(link)
            self._link = link
            if link.lost:  # while it opened
                self._drop()
                await running[0]  # raises the reason
            self._opened.set()
            self._pause = FIRST_PAUSE  # when this one is lost, the first attempt comes soon
            if self._last_error is not None:
                logger.info("Connected to Redis (%s) again", self.endpoint)
                self._last_error = None
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            if not self._loop.is_closed():
                await cancel_and_wait(running)

    async def _changed_primary(self, pool: ConnectionPool, connection: AbstractConnection) -> None:
        """Raises when the Sentinels name another primary.

        One that was frozen, or cut off, answers when it is back as if nothing had happened, until
        the Sentinels make it a replica, some ten seconds later.
        """
        while isinstance(pool, SentinelConnectionPool):
            await asyncio.sleep(FOLLOW_INTERVAL)
            with contextlib.suppress(RedisError, asyncio.TimeoutError):
                address = await pool.get_master_address()
                if address[1] != getattr(connection, "port", None) or address[0] != connection.host:
                    raise LinkLost(f"The Sentinels name another primary, {address[0]}:{address[1]}")
            if is_cancelled():  # redis-py has swallowed it while it asked
                raise asyncio.CancelledError
        await asyncio.Event().wait()

    def _note(self, error: BaseException) -> None:
        if str(error) != str(self._last_error):  # an outage is told once, not at each attempt
            logger.warning("No connection to Redis (%s): %s", self.endpoint, error)
        self._last_error = error

    def _drop(self) -> None:
        if self._link is not None:
            self._link = None
            self._opened.clear()
            self._on_lost()
