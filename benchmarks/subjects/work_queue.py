"""Child: a named channel and its worker in one process, 50 jobs under way.

Ours is a real worker that acknowledges each job after its handler. The peers have neither a worker
that acknowledges nor the means to write one: they receive, and that is all.
"""

import asyncio
from importlib import import_module
from typing import Any

from ..child import Clock, Options, listen, main, say
from .groups import PATIENCE, TEXT
from .layers import Layer, make_layer

CHANNEL = "jobs"


async def work(options: Options) -> None:
    layer = make_layer(options["subject"], options["kind"], options["url"])
    done = Done()
    if options["subject"] == "candidate":
        await _start_worker(layer, done)
    else:
        done.receiving = asyncio.create_task(_receive(layer, done))
    window = options["window"]
    for _ in range(3):
        await _exchange(layer, done, window)
    say(ready=True)
    listen()
    operations = 0
    clock = Clock()
    while not operations or clock.wall < options["seconds"]:
        await _exchange(layer, done, window)
        operations += window
    say(operations=operations, **clock.stop())


class Done:
    """The numbers of the jobs that were done, until a window of them is complete."""

    def __init__(self) -> None:
        self.receiving: asyncio.Task[None] | None = None
        self._wanted: set[int] = set()
        self._complete = asyncio.Event()
        self._next = 0

    def expect(self, number: int) -> list[dict[str, Any]]:
        """That many new jobs."""
        numbers = range(self._next, self._next + number)
        self._next += number
        self._wanted = set(numbers)
        self._complete.clear()
        return [{"type": "job", "text": TEXT, "n": n} for n in numbers]

    def add(self, message: dict[str, Any]) -> None:
        self._wanted.remove(message["n"])  # a job that is done twice is an error
        if not self._wanted:
            self._complete.set()

    async def wait(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._complete.wait()
        except TimeoutError:
            raise RuntimeError(f"lost {len(self._wanted)} jobs") from None


async def _exchange(layer: Layer, done: Done, window: int) -> None:
    jobs = done.expect(window)
    await asyncio.gather(*(layer.send(CHANNEL, job) for job in jobs))
    await done.wait()


async def _receive(layer: Layer, done: Done) -> None:
    while True:
        done.add(await layer.receive(CHANNEL))


async def _start_worker(layer: Layer, done: Done) -> None:
    # Under this name our runtime is on the path only where it is the subject.
    consumer = import_module("fast_channels.consumer").AsyncConsumer

    async def job(self: object, message: dict[str, Any]) -> None:
        done.add(message)

    worker = import_module("fast_channels.worker").Worker
    await worker(layer, {CHANNEL: type("Job", (consumer,), {"job": job})}).__aenter__()


if __name__ == "__main__":
    main(work)
