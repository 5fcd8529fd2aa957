"""The process that does the jobs: ``python -m`` this module.

With ``--check`` it only tells whether it could work.
"""

import asyncio
import logging
import sys

from fast_channels.layers import is_ready, open_layers

from .jobs import make_worker
from .layers import make_layers
from .settings import get_settings


async def work() -> None:
    async with open_layers(make_layers()):
        await make_worker().run()


async def check() -> bool:
    layers = make_layers()
    async with open_layers(layers):
        return await is_ready(layers.values())


def main() -> None:
    settings = get_settings()
    logging.basicConfig(level=settings.log_level)
    if not settings.redis_url:
        sys.exit(
            "A worker process needs REDIS_URL; in memory, the web process runs the jobs itself."
        )
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if asyncio.run(check()) else 1)
    asyncio.run(work())


if __name__ == "__main__":
    main()
