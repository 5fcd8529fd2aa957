"""The worker process: ``python -m`` this module; with ``--check`` it only tells whether it could work."""

import asyncio
import logging
import sys
from contextlib import AsyncExitStack

from fast_channels.layers import channel_layers
from fast_channels.worker import Worker

from .consumers import JobConsumer
from .health import is_ready
from .layers import register_layers
from .settings import Settings, get_settings


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
