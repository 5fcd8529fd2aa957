"""Commands of one topic, executed where it lives: what is tried again, and how long.

Invariants
- A caller gets the reply, or ``ChannelLayerUnavailable`` at its deadline at the latest. There is one
  ladder of attempts, ``Commands.complete``, for a server and for a Cluster.
- A command that is not repeatable and whose connection is lost before the reply is not sent again,
  since it may have been executed.
"""

import abc
import asyncio
import hashlib
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, ClassVar

from redis.exceptions import NoScriptError, RedisError

from ....exceptions import ChannelLayerUnavailable
from .connection import Command, Connection, ConnectionLost, Pending, Reply

# In a command, what reaches its topic's listeners, and how: on a connection, in order. A Cluster puts
# SPUBLISH there if it shards them; else they go over its bus, which may lose or reorder them.
PUBLISH, DIRECT = "PUBLISH", "direct"


class Commands(abc.ABC):
    """Executes commands where a topic lives. ``timeout`` is in seconds."""

    misplaced: ClassVar[
        tuple[type[Exception], ...]
    ] = ()  # errors by which the topic lives elsewhere

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._connection: Connection | None = None

    # Where

    @property
    def connection(self) -> Connection | None:
        """The open connection to where the topic lives now, if there is one."""
        return self._connection

    @abc.abstractmethod
    async def connected(self, deadline: float) -> Connection:
        """Wait for that, until a time of the event loop's clock; ``TimeoutError`` then."""

    @property
    def server(self) -> object:
        """Stands for the server; the same for all topics that live there at the moment."""
        return self

    @property
    def part(self) -> object:
        """The same for all topics that one command may name."""
        return self.server

    @abc.abstractmethod
    def unavailable(self) -> ChannelLayerUnavailable:
        """What a caller is told when its time is over."""

    def adapted(self, command: Command) -> Command:
        """The command as that server takes it."""
        return command

    async def look_again(self, error: Exception, deadline: float) -> None:
        """What is known of the topic's place may be wrong; called before each repetition."""

    # What

    def execute(
        self, *command: Any, repeatable: bool = True, replicated: bool = False
    ) -> Awaitable[Reply]:
        """``complete`` within ``timeout``."""
        deadline = asyncio.get_running_loop().time() + self.timeout
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
        attempt ended that was made by ``offer``. ``ChannelLayerUnavailable`` also if the server refuses
        the command.
        """
        failure = after
        while True:
            if failure is not None:
                command = await self._overcome(failure, command, deadline, repeatable)
            try:
                return await self._attempt(command, deadline, replicated, again=failure is not None)
            except (ConnectionLost, RedisError, TimeoutError) as error:
                failure = error

    def offer(self, command: Command, reply: Pending, deadline: float) -> Connection | None:
        """The connection on which the command leaves with the next ``write_pending``; None if there is
        none with room now.

        ``reply`` is settled by the outcome of this one attempt, after which ``complete`` goes on.
        """
        connection = self.connection
        if connection is not None and connection.offer(self.adapted(command), reply, deadline):
            return connection
        return None

    async def turn(self, deadline: float) -> None:
        """Wait for a connection, until ``deadline``, and for room on it; see ``Connection.turn``."""
        try:
            connection = await self.connected(deadline)
        except TimeoutError:
            raise self.unavailable() from None
        await connection.turn()

    async def _attempt(
        self, command: Command, deadline: float, replicated: bool, *, again: bool
    ) -> Reply:
        """After a ``TimeoutError`` nobody knows whether the command was executed."""
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
        if (lost and repeatable) or isinstance(failure, self.misplaced):
            await self.look_again(failure, deadline)
            return command
        if isinstance(failure, TimeoutError):
            raise self.unavailable() from failure
        if lost:
            raise ChannelLayerUnavailable(
                f"The connection to Redis ({self}) was lost before {command[0]} was confirmed: "
                f"{failure}"
            ) from failure
        if isinstance(failure, RedisError):
            raise ChannelLayerUnavailable(
                f"Redis ({self}) refused {command[0]}: {failure}"
            ) from failure
        raise failure


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
