"""What delivery knows of Redis: where a topic's commands go, what subscribes to it, and what that tells."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from .commands import Commands
from .connection import OnMessage


@dataclass(frozen=True)
class Events:
    """What subscriptions tell their owner.

    ``on_lost()``: something that was subscribed is not heard any more. ``on_subscribing(topics,
    since)`` is called before they are subscribed, for the first time or again; what was published to
    them since that time of ``time.monotonic`` may not have been heard. Its result goes to
    ``on_subscribed(topics, mark)`` when the server has confirmed. ``on_open()``: nothing that is
    wanted on one connection is left to subscribe. ``on_ended(topic)``: the server ended a subscription by
    itself. Each gets a bounded number of topics, and none of these functions may take long.
    """

    on_message: OnMessage
    on_lost: Callable[[], None]
    on_subscribing: Callable[[list[str], float], Any]
    on_subscribed: Callable[[list[str], Any], None]
    on_open: Callable[[], None]
    on_ended: Callable[[str], None] = lambda _: None


class Subscriptions(Protocol):
    """See ``Subscriber``."""

    @property
    def down(self) -> bool: ...

    def want(self, topic: str) -> None: ...

    async def add(self, topic: str) -> bool: ...

    def discard(self, topic: str) -> None: ...


class Topology(Protocol):
    def start(self) -> None: ...

    def commands(self, topic: str) -> Commands: ...

    def subscriber(self, topic: str) -> Subscriptions: ...

    def commands_of_key(self, key: str) -> Commands:
        """Where a key lives, also where topics are no keys."""
        ...

    async def primaries(self) -> list[Commands]:
        """One for each server that holds a part of the keys."""
        ...

    async def aclose(self) -> None: ...
