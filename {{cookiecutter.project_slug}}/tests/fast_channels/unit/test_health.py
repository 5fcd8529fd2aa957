"""Whether layers are ready: a message goes through each."""

from typing import Any

from fast_channels.exceptions import ChannelLayerUnavailable
from fast_channels.layers import InMemoryChannelLayer, RedisChannelLayer, is_ready

from ..support.redis_servers import RedisServer

UNREACHABLE = "redis://127.0.0.1:1/0"  # port 1 is nobody's


class CutOff(InMemoryChannelLayer):
    async def send(self, channel: str, message: dict[str, Any]) -> None:
        raise ChannelLayerUnavailable("cut off by the test")


class Silent(InMemoryChannelLayer):
    """Accepts what it never delivers."""

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        pass


async def test_layers_that_deliver_are_ready(redis_server: RedisServer) -> None:
    """No channel of the question is left."""
    memory = InMemoryChannelLayer()
    async with memory, RedisChannelLayer([redis_server.url], "health") as redis:
        assert await is_ready([memory, redis])
    assert memory.local.mailboxes == {}


async def test_one_that_does_not_makes_the_answer_no() -> None:
    """It refuses, loses the message, or its server is not there; the wait is bounded."""
    ready = InMemoryChannelLayer()
    for other in (CutOff(), Silent(), RedisChannelLayer([UNREACHABLE], timeout=0.2)):
        async with other:
            assert not await is_ready([ready, other], timeout=1.0)
