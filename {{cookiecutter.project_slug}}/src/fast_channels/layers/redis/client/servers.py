"""How a topic finds its server, where servers know nothing of each other."""

import asyncio
import zlib
from dataclasses import dataclass

from .commands import Commands, KeptConnection
from .hosts import Endpoint
from .subscriber import Events, Subscriber


@dataclass(frozen=True, eq=False)
class Server:
    """One endpoint: a connection for commands, and one for subscriptions."""

    commands: KeptConnection
    subscriber: Subscriber

    @property
    def down(self) -> bool:
        """See ``KeptConnection.down``."""
        return self.commands.down or self.subscriber.down

    async def aclose(self) -> None:
        await asyncio.gather(self.commands.aclose(), self.subscriber.aclose())


class Servers:
    """One or several; a topic's name alone chooses one of them."""

    def __init__(self, endpoints: list[Endpoint], timeout: float, events: Events) -> None:
        self._servers = [
            Server(KeptConnection(endpoint, timeout), Subscriber(endpoint, timeout, events))
            for endpoint in endpoints
        ]

    def start(self) -> None:
        for server in self._servers:
            server.commands.start()
            server.subscriber.start()

    def _server_of(self, topic: str) -> Server:
        servers = self._servers
        return servers[shard_index(topic, len(servers)) if len(servers) > 1 else 0]

    def commands(self, topic: str) -> Commands:
        return self._server_of(topic).commands

    def commands_of_key(self, key: str) -> Commands:
        return self.commands(key)

    def subscriber(self, topic: str) -> Subscriber:
        return self._server_of(topic).subscriber

    async def primaries(self) -> list[Commands]:
        return [server.commands for server in self._servers]

    async def aclose(self) -> None:
        await asyncio.gather(*(server.aclose() for server in self._servers))


def shard_index(topic: str, number: int) -> int:
    """An index below ``number``, the same for the same topic in every process."""
    return zlib.crc32(topic.encode()) % number
