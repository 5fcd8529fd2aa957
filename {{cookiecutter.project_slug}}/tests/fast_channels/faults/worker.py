"""The worker under fault: says when it starts and ends each job, so that nothing else has to know.

Run as `python -m tests.fast_channels.faults.worker URL PREFIX LEASE`; the lease is in seconds.
"""

import asyncio
import sys
from typing import Any

from fast_channels.consumer import AsyncConsumer
from fast_channels.layers import RedisChannelLayer
from fast_channels.worker import Worker

CHANNEL = "jobs"
CONCURRENCY = 5


class Job(AsyncConsumer):
    async def job(self, message: dict[str, Any]) -> None:
        say("started", message["number"])
        await asyncio.sleep(message["seconds"])
        say("done", message["number"])


def say(word: str, number: int) -> None:
    print(word, number, flush=True)


async def main(url: str, prefix: str, lease: float) -> None:
    async with RedisChannelLayer([url], prefix, lease=lease) as layer:
        await Worker(layer, {CHANNEL: Job}, concurrency=CONCURRENCY).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
