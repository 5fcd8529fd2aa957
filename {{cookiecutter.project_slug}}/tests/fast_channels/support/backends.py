"""The layers and topologies that the contract tests run over.

`over(QUEUE)` on a test chooses some of them; without it a test runs over all.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from fast_channels.layers import (
    BaseChannelLayer,
    InMemoryChannelLayer,
    RedisChannelLayer,
    RedisPubSubChannelLayer,
)

MEMORY = ["memory"]
PUBSUB = ["pubsub-standalone", "pubsub-sentinel", "pubsub-cluster"]
QUEUE = ["queue-standalone", "queue-sentinel", "queue-cluster"]
REDIS = PUBSUB + QUEUE
OWN = ["queue-own"]  # a server that no other test uses
WORK = MEMORY + QUEUE  # layers that keep a named channel's messages until a receiver takes them
ALL = MEMORY + REDIS


@dataclass(frozen=True)
class Backend:
    """Makes layers of one kind that share a server (`url`) and a prefix: several processes of one
    app. A memory layer has neither; it is one process.
    """

    name: str
    url: str = ""
    prefix: str = ""

    @property
    def is_memory(self) -> bool:
        return self.name in MEMORY

    @property
    def is_queue(self) -> bool:
        return self.name in (*QUEUE, *OWN)

    @property
    def topology(self) -> str:
        return self.name.partition("-")[2]

    def make(self, **options: Any) -> BaseChannelLayer:
        if self.is_memory:
            return InMemoryChannelLayer(**options)
        options = {"hosts": [self.url], "prefix": self.prefix} | options
        return RedisChannelLayer(**options) if self.is_queue else RedisPubSubChannelLayer(**options)


def over(*names: list[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "backend", [name for group in names for name in group], indirect=True
    )
