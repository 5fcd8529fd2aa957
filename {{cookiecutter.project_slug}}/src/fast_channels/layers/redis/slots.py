"""What a node of a Redis Cluster says of itself and of the others."""

from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.crc import key_slot

from .type_defs import Address

SHARDED_SINCE = 7  # major version of Redis; Valkey says 7 for compatibility


def slot_of(topic: str) -> int:
    slot: int = key_slot(topic.encode())
    return slot


class SlotMap:
    """Which address holds which slot, from the reply of CLUSTER SLOTS."""

    def __init__(self, reply: list[list[Any]], asked: Address) -> None:
        self.ranges: list[tuple[int, int, Address]] = []
        for first, last, (host, port, *_), *_ in reply:
            # A node that does not know its own address leaves the host empty.
            self.ranges.append((first, last, (host.decode() or asked[0], port)))

    def owner(self, topic: str) -> Address | None:
        slot = slot_of(topic)
        for first, last, address in self.ranges:
            if first <= slot <= last:
                return address
        return None

    @property
    def addresses(self) -> set[Address]:
        return {address for _, _, address in self.ranges}


async def ask(connection: AbstractConnection, *command: str) -> Any:
    await connection.send_command(*command, check_health=False)
    return await connection.read_response()


async def is_sharded(connection: AbstractConnection) -> bool:
    info: bytes = await ask(connection, "INFO", "server")
    version = next(line for line in info.split(b"\r\n") if line.startswith(b"redis_version:"))
    return int(version.partition(b":")[2].split(b".")[0]) >= SHARDED_SINCE
