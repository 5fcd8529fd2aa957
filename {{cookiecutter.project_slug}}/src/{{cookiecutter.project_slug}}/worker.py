"""The jobs, and the process that does them: ``python -m`` this module.

With ``--check`` it only tells whether it could work.
"""

import asyncio
import contextlib
import logging
import sys
from contextlib import AsyncExitStack
from typing import Any

from fast_channels.consumer import AsyncConsumer
from fast_channels.exceptions import ChannelLayerUnavailable
from fast_channels.layers import channel_layers
from fast_channels.worker import Worker

from .health import is_ready
from .layers import register_layers
from .settings import Settings, get_settings


class JobConsumer(AsyncConsumer):
    """Does one job; tells the socket that asked for it how far it is."""

    channel_layer_alias = "default"
    handlers = frozenset({"job.run"})

    async def job_run(self, message: dict[str, Any]) -> None:
        for done in range(1, message["steps"]):
            await asyncio.sleep(get_settings().job_step_seconds)  # stands for the real work
            with contextlib.suppress(ChannelLayerUnavailable):  # the next report makes it good
                await self.report(message, {"type": "job.progress", "done": done})
        await self.report(message, {"type": "job.done"})

    async def report(self, message: dict[str, Any], event: dict[str, Any]) -> None:
        event |= {"job": message["job"], "total": message["steps"]}
        await self.channel_layer.send(message["reply_to"], event)


def make_worker(settings: Settings) -> Worker:
    routes = {"jobs": JobConsumer}
    return Worker(channel_layers["jobs"], routes, concurrency=settings.worker_concurrency)


async def run(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        for layer in register_layers(settings):
            await stack.enter_async_context(layer)
        await make_worker(settings).run()


async def check(settings: Settings) -> bool:
    async with AsyncExitStack() as stack:
        layers = register_layers(settings)
        for layer in layers:
            await stack.enter_async_context(layer)
        return await is_ready(layers)


def main() -> None:
    settings = get_settings()
    logging.basicConfig(level=settings.log_level)
    if not settings.redis_url:
        sys.exit(
            "A worker process needs REDIS_URL; in memory, the web process runs the jobs itself."
        )
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if asyncio.run(check(settings)) else 1)
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
