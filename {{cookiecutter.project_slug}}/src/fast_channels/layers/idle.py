"""Names that nobody uses at the moment, and that are forgotten when that has lasted for a while.

Invariant: a name is forgotten ``after`` seconds after its last use, or earlier when more than ``most``
others have been left since; unless ``forget(name)`` says that it is in use: then it has been used now.
"""

import asyncio
from collections.abc import Callable, Hashable
from typing import Any


class IdleNames:
    def __init__(self, forget: Callable[[Any], bool], *, after: float, most: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._forget = forget
        self._after = after
        self._most = most
        self._since: dict[Hashable, float] = {}  # the one that was left first comes first
        self._timer: asyncio.TimerHandle | None = None

    def use(self, name: Hashable) -> None:
        self._since.pop(name, None)

    def leave(self, name: Hashable) -> None:
        self._since.pop(name, None)
        self._since[name] = self._loop.time()
        if len(self._since) > self._most:
            self._forget_first()
        if self._timer is None:
            self._timer = self._loop.call_later(self._after, self._look)

    def close(self) -> None:
        self._since.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        while self._since:
            at = next(iter(self._since.values())) + self._after
            if at > self._loop.time():
                self._timer = self._loop.call_at(at, self._look)
                return
            self._forget_first()

    def _forget_first(self) -> None:
        name = next(iter(self._since))
        del self._since[name]
        if not self._forget(name):
            self._since[name] = self._loop.time()
