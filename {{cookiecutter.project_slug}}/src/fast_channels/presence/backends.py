"""What presence needs of a layer: where its rosters are, its channels, how info becomes bytes."""

import marshal
from typing import NamedTuple

from ..layers.base import BaseChannelLayer
from ..layers.groups import LocalGroups
from ..layers.in_memory import InMemoryChannelLayer
from ..mailbox import Message
from .memory_rosters import MemoryRosters
from .process import Codec
from .rosters import Rosters, check_size

PLAIN = 2  # version of marshal's format: of equal values the same bytes
TIMEOUT = 5.0  # seconds; in memory nothing takes so long


class Backend(NamedTuple):
    """``timeout`` is that of one operation, in seconds."""

    rosters: Rosters
    local: LocalGroups
    codec: Codec
    timeout: float


class MemoryCodec:
    def __init__(self, max_info: int) -> None:
        self._max_info = max_info

    def seal(self, group: str, key: str, info: Message) -> bytes:
        sealed = marshal.dumps(info, PLAIN)
        check_size(len(sealed), self._max_info)
        return sealed

    def unseal(self, group: str, key: str, sealed: bytes) -> Message:
        info: Message = marshal.loads(sealed) if sealed else {}
        return info


def backend_of(layer: BaseChannelLayer, lease: float, max_info: int) -> Backend:
    """For the running loop; ``TypeError`` for a layer that is none of this package's."""
    if isinstance(layer, InMemoryChannelLayer):
        rosters = layer.parts.setdefault(MemoryRosters, MemoryRosters())
        return Backend(rosters, layer.local, MemoryCodec(max_info), TIMEOUT)
    from ..layers.redis.layer import RedisLayer  # redis-py is needed by an app that uses it only
    from .redis_rosters import RedisCodec, RedisRosters

    if not isinstance(layer, RedisLayer):
        raise TypeError(f"Presence works on the layers of fast_channels, not on {layer!r}")
    here = layer.here
    codec = RedisCodec(here.config, max_info)
    return Backend(RedisRosters(here, lease), here.local, codec, here.config.timeout)
