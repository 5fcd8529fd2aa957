"""A Lua script, called by its digest, which is all that a server needs that has seen it before."""

import hashlib
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .link import Command, Reply
    from .topology import Commands

DIRECTORY = Path(__file__).with_name("lua")

_sources: dict[str, str] = {}  # by digest


class Script:
    def __init__(self, name: str) -> None:
        source = (DIRECTORY / f"{name}.lua").read_text(encoding="utf-8")
        # Redis names a script by its SHA-1; nothing here depends on that being secure.
        self._digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        _sources[self._digest] = source

    def command(self, keys: tuple[str, ...], *values: bytes | str | int) -> "Command":
        return ("EVALSHA", self._digest, len(keys), *keys, *values)

    def run(
        self,
        server: "Commands",
        keys: tuple[str, ...],
        *values: bytes | str | int,
        replicated: bool = False,
    ) -> "Awaitable[Reply]":
        """``replicated`` waits until a replica has what the script wrote."""
        return server.execute(*self.command(keys, *values), replicated=replicated)


def with_source(command: "Command") -> "Command":
    """The call of a script that the server does not know, for it to learn."""
    _, digest, *arguments = command
    return ("EVAL", _sources[digest], *arguments)
