"""kill -9 in the middle of a handler: another worker gets the message, in time and as it was."""

import asyncio
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fast_channels.consumer import AsyncConsumer
from fast_channels.layers import Depth, RedisChannelLayer
from fast_channels.layers.redis.job_streams import POLL
from fast_channels.worker import Worker

from ..support.children import SOURCES
from ..support.expect import eventually
from ..support.redis_servers import RedisServer
from ..support.worker_bench import put

LEASE = 1.5  # seconds
JOBS = 4

PROGRAM = """
import asyncio, sys
from fast_channels.consumer import AsyncConsumer
from fast_channels.layers import RedisChannelLayer
from fast_channels.worker import Worker

class Endless(AsyncConsumer):
    async def job(self, message):
        print(self.scope["id"], flush=True)
        await asyncio.Event().wait()

url, prefix, lease = sys.argv[1:]
layer = RedisChannelLayer([url], prefix, lease=float(lease))
asyncio.run(Worker(layer, {"jobs": Endless}, concurrency=4).run())
"""


@pytest.fixture
async def jobs(redis_server: RedisServer) -> AsyncIterator[RedisChannelLayer]:
    prefix = f"killed-{uuid.uuid4().hex[:8]}"
    async with RedisChannelLayer([redis_server.url], prefix, lease=LEASE) as layer:
        yield layer


async def begin_and_kill(url: str, prefix: str) -> list[str]:
    """Start a worker, wait until it handles all jobs, and kill it; the ids of the messages."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, url, prefix, str(LEASE)),
        cwd=SOURCES,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            return [(await process.stdout.readline()).decode().strip() for _ in range(JOBS)]
    finally:
        process.kill()
        await process.wait()


async def test_another_worker_takes_over(
    redis_server: RedisServer, jobs: RedisChannelLayer
) -> None:
    """Within a lease and the second in which ended ones are looked for; attempt 2, the same id."""
    taken: list[tuple[str, int]] = []

    class Noting(AsyncConsumer):
        async def job(self, message: dict[str, Any]) -> None:
            taken.append((self.scope["id"], self.scope["attempt"]))

    await put(jobs, JOBS)
    begun = await begin_and_kill(redis_server.url, jobs.prefix)
    clock = asyncio.get_running_loop().time
    killed = clock()
    async with Worker(jobs, {"jobs": Noting}):
        await eventually(lambda: len(taken) == JOBS, "all messages")
        waited = clock() - killed
        await eventually(lambda: jobs_are_done(jobs), "the acknowledgements")
    assert sorted(taken) == sorted((identity, 2) for identity in begun)
    assert waited < LEASE + POLL + 10, "with 10 s for a starved machine"


async def jobs_are_done(jobs: RedisChannelLayer) -> bool:
    return await jobs.depth("jobs") == Depth(0, 0, 0)


async def test_a_message_that_kills_its_workers_is_given_up(
    redis_server: RedisServer, jobs: RedisChannelLayer
) -> None:
    """After `max_attempts` deaths it is a dead letter, and not a fifth worker's death."""
    await put(jobs, JOBS)
    await begin_and_kill(redis_server.url, jobs.prefix)
    handled: list[Any] = []

    class Noting(AsyncConsumer):
        async def job(self, message: dict[str, Any]) -> None:
            handled.append(message)

    async with Worker(jobs, {"jobs": Noting}, max_attempts=1):
        await eventually(lambda: all_are_dead(jobs), "the dead letters")
    letters = await jobs.dead_letters("jobs")
    assert handled == []
    assert {letter.attempts for letter in letters} == {2}
    assert all("workers died" in letter.reason for letter in letters)


async def all_are_dead(jobs: RedisChannelLayer) -> bool:
    return await jobs.depth("jobs") == Depth(0, 0, JOBS)
