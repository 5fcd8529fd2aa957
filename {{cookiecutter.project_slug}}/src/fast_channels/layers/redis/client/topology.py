"""What delivery knows of Redis: where a topic's commands go, and what subscribes to it."""

from typing import Protocol

from .commands import Commands


class Subscriptions(Protocol):
    """See ``Subscriber``."""

    @property
    def down(self) -> bool: ...

    def want(self, topic: str) -> None: ...

    async def add(self, topic: str) -> None: ...

    def discard(self, topic: str) -> None: ...


class Topology(Protocol):
    def start(self) -> None: ...

    def commands(self, topic: str) -> Commands: ...

    def commands_of_key(self, key: str) -> Commands:
        """Where a key lives, also where topics are no keys."""
        ...

    def subscriber(self, topic: str) -> Subscriptions: ...

    async def primaries(self) -> list[Commands]:
        """One for each server that holds a part of the keys."""
        ...

    async def aclose(self) -> None: ...
