"""The child's side of `processes.Child`: options in, JSON lines out, and the clock between two words."""

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

Options = dict[str, Any]


def main(work: Callable[[Options], Awaitable[None]]) -> None:
    """Run `work` on the loop that the options name, then leave without tidying up."""
    options = json.loads(sys.argv[1])
    factory = asyncio.new_event_loop
    if options["loop"] == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_until_said(work, options))


async def _until_said(work: Callable[[Options], Awaitable[None]], options: Options) -> None:
    await work(options)
    sys.stdout.flush()
    os._exit(0)  # what peers do when they are closed is not measured


def say(**message: Any) -> None:
    print(json.dumps(message), flush=True)


def listen() -> dict[str, Any]:
    """The runner's next word; blocks the loop, so not while the clock runs."""
    said: dict[str, Any] = json.loads(sys.stdin.readline())
    return said


class Clock:
    """Started when everything is warm; garbage of the preparation is collected first."""

    def __init__(self) -> None:
        gc.collect()
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    @property
    def wall(self) -> float:
        return time.perf_counter() - self._wall

    def stop(self) -> dict[str, float]:
        return {"cpu": time.process_time() - self._cpu, "wall": self.wall}
