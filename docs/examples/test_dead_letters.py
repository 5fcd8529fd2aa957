"""Looking at dead letters, and trying them again."""

import asyncio
from typing import Any, ClassVar

from fast_channels.consumer import AsyncConsumer
from fast_channels.layers import InspectableWorkQueue, RedisChannelLayer
from fast_channels.worker import Worker

from ..fast_channels.support.redis_servers import RedisServer


# replay
async def replay_timeouts(layer: InspectableWorkQueue, channel: str) -> int:
    """Try again what failed because the other side did not answer."""
    again = 0
    for letter in await layer.dead_letters(channel):
        if letter.reason.startswith("TimeoutError"):
            again += await layer.replay(channel, letter)
    return again


# end
class BillConsumer(AsyncConsumer):
    attempts: ClassVar[list[tuple[int, str, int]]] = []

    async def bill_send(self, message: dict[str, Any]) -> None:
        self.attempts.append((message["number"], self.scope["id"], self.scope["attempt"]))
        if message["number"] == 13:
            raise ValueError("never works")
        if len(self.attempts) < 3:
            raise TimeoutError


async def test_dead_letters_can_be_replayed() -> None:
    """Those with the right reason are delivered again, as if for the first time."""
    with RedisServer() as server:
        layer = RedisChannelLayer([server.url], prefix="shop.jobs")
        async with layer, Worker(layer, {"bills": BillConsumer}, max_attempts=1, concurrency=1):
            for number in (7, 13):
                await layer.send("bills", {"type": "bill.send", "number": number})
            async with asyncio.timeout(10):
                while (await layer.depth("bills")).dead < 2:
                    await asyncio.sleep(0.02)
                assert await replay_timeouts(layer, "bills") == 1
                while len(BillConsumer.attempts) < 3:
                    await asyncio.sleep(0.02)
        first, _, again = BillConsumer.attempts
        assert first == again
