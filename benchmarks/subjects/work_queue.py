"""Child: a named channel and its worker in one process, 50 jobs under way.

Ours is a worker that acknowledges each job after its handler. The peers have none that does: they
receive for their own consumer, which handles what comes, as Channels' ``runworker`` does it.
"""

import asyncio
from importlib import import_module
from typing import Any

from ..child import Clock, Options, listen, main, say
from .groups import PATIENCE, TEXT
from .layers import Layer, all_of, make_layer

CHANNEL = "jobs"


async def work(options: Options) -> None:
    layer = make_layer(options["subject"], options["kind"], options["url"])
    done = Done()
    if options["subject"] == "candidate":
        await _start_worker(layer, done, options)
    else:
        await _start_receiving(layer, done, options)
    window = options["window"]
    for _ in range(3):
        await _exchange(layer, options["kind"], done, window)
    say(ready=True)
    listen()
    operations = 0
    clock = Clock()
    while not operations or clock.wall < options["seconds"]:
        await _exchange(layer, options["kind"], done, window)
        operations += window
    say(operations=operations, **clock.stop())


class Done:
    """The numbers of the jobs that were done, until a window of them is complete."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []
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


async def _exchange(layer: Layer, kind: str, done: Done, window: int) -> None:
    jobs = done.expect(window)
    await all_of(kind, (layer.send(CHANNEL, job) for job in jobs))
    await done.wait()


async def _start_worker(layer: Layer, done: Done, options: Options) -> None:
    worker = import_module("fast_channels.worker").Worker
    await worker(layer, {CHANNEL: _consumer(done, options)}).__aenter__()


async def _start_receiving(layer: Layer, done: Done, options: Options) -> None:
    """One consumer, that is called once; and a task that brings it what is sent to the channel."""
    jobs: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def receive() -> None:
        while True:
            await jobs.put(await layer.receive(CHANNEL))

    async def send(event: dict[str, Any]) -> None:
        raise RuntimeError(f"a worker's consumer has nobody to send {event!r} to")

    app = _consumer(done, options).as_asgi()
    scope = {"type": "channel", "channel": CHANNEL}
    done.tasks = [asyncio.create_task(receive()), asyncio.create_task(app(scope, jobs.get, send))]


def _consumer(done: Done, options: Options) -> Any:
    """Under the same name our package or the peer's is on the path."""
    package = "fast_channels"
    if options["subject"] == "channels_redis":
        package = "channels"
        import_module("django.conf").settings.configure(CHANNEL_LAYERS={})

    async def job(self: object, message: dict[str, Any]) -> None:
        if options["waits"]:
            await asyncio.sleep(0)
        done.add(message)

    return type("Job", (import_module(f"{package}.consumer").AsyncConsumer,), {"job": job})


if __name__ == "__main__":
    main(work)
