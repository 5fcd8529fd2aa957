"""Cuts clients off again and again while messages flow, and counts what they got in the end: `make drops`.

Each client joins the groups of a `Scene`, and comes back with its last positions, as a browser does. Its
connection is cut without a farewell after some seconds, and it stays away for two. Half-way the web processes
are restarted in turn, in order (SIGTERM), where there are several. Printed are the share of all messages that
the clients got, those that came twice or out of order, the returns that were not told to be complete, and
how long a return took, from the first attempt to connect on.

The scenes here have a consumer of their own, in memory or on the queue layer; a project adds its app's.
Status 1 says that a scene which promises recovery missed 100 % or doubled something.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from ..support.redis_servers import RedisServer
from .app import GROUP, REFUSED
from .clients import open_socket
from .processes import WebProcess
from .waiting import SETTLE_SECONDS, comes_true

PAUSE = 0.05  # seconds between two attempts to connect
LAYERS = ("memory", "queue")


class NotJoined(Exception):
    """A line is of no use: its client tries another one."""


LOST = (NotJoined, OSError, InvalidHandshake, ConnectionClosed, EOFError, TimeoutError)


@dataclass(frozen=True)
class Caught:
    """What a joining brings: the numbers of the messages, the group's position, and whether that is all."""

    numbers: list[int]
    position: str
    complete: bool


class Line(Protocol):
    """One connection of a client."""

    async def join(self, group: str, since: str | None) -> Caught: ...

    async def hear(self) -> tuple[str, int, str] | None:
        """The next message's group, number and position; None for one that has no number."""
        ...

    def cut(self) -> None: ...


class Scene(Protocol):
    """What the clients meet. `sent` are the numbers that were accepted, by group."""

    sent: dict[str, set[int]]

    def connect(self, chance: random.Random) -> AbstractAsyncContextManager[Line]: ...

    async def say(self, number: int) -> None:
        """To the first group; it is one of those that were sent if that is sure."""
        ...

    async def restart(self, pause: float) -> int:
        """Restart each web process, and wait after each; how many there are."""
        ...

    @property
    def errors(self) -> int:
        """Tracebacks in all logs."""
        ...


@dataclass(frozen=True)
class Plan:
    clients: int = 100
    seconds: float = 30.0
    rate: float = 50.0  # messages a second
    stay: tuple[float, float] = (1.0, 4.0)  # seconds until a cut, at random
    away: float = 2.0  # seconds that a client stays away, and between two restarts
    settle: float = SETTLE_SECONDS  # for what is under way at the end


@dataclass
class Drops:
    """What a run counted. `cuts` and `restarts` happened; `returns` are seconds, each of a joining."""

    scene: str
    clients: int
    sent: int = 0
    cuts: int = 0
    restarts: int = 0
    got: int = 0
    doubled: int = 0
    reordered: int = 0
    incomplete: int = 0
    errors: int = 0
    returns: list[float] = field(default_factory=list)

    @property
    def delivered(self) -> float:
        """Of all messages to all clients, 1 if each got each."""
        return self.got / (self.sent * self.clients) if self.sent else 0.0

    @property
    def kept(self) -> bool:
        return self.delivered == 1 and not (
            self.doubled or self.reordered or self.incomplete or self.errors
        )

    def __str__(self) -> str:
        returns = sorted(self.returns) or [0.0]
        p99 = returns[int(len(returns) * 0.99)]
        return (
            f"{self.scene}: {self.clients} clients, {self.sent} messages, {self.cuts} cuts, "
            f"{self.restarts} restarts\n"
            f"  delivered {self.delivered:.4%}, doubled {self.doubled}, out of order {self.reordered}, "
            f"not complete {self.incomplete}, tracebacks {self.errors}\n"
            f"  a return took {statistics.median(returns) * 1000:.0f} ms (median), "
            f"{p99 * 1000:.0f} ms (99 %), {returns[-1] * 1000:.0f} ms (longest)"
        )


class Client:
    """One that comes back."""

    def __init__(self, scene: Scene, drops: Drops, plan: Plan, chance: random.Random) -> None:
        self.numbers: dict[str, list[int]] = {group: [] for group in scene.sent}
        self.joined = asyncio.Event()
        self._scene = scene
        self._drops = drops
        self._plan = plan
        self._chance = chance
        self._positions: dict[str, str] = {}
        self._stays = True

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            while not await self._visit(began):
                await asyncio.sleep(PAUSE)

    def stay(self) -> None:
        """No more cuts: the end is near."""
        self._stays = False

    async def _visit(self, began: float) -> bool:
        """Whether it came to be in all groups, however that ended."""
        came = False
        with suppress(*LOST):
            async with self._scene.connect(self._chance) as line:
                for group in self.numbers:
                    caught = await line.join(group, self._positions.get(group))
                    self._drops.incomplete += not caught.complete
                    self._take(group, caught.numbers, caught.position)
                came = True
                if self.joined.is_set():
                    self._drops.returns.append(time.monotonic() - began)
                self.joined.set()
                await self._stay(line)
                self._drops.cuts += 1
                line.cut()
            await asyncio.sleep(self._plan.away)
        return came

    async def _stay(self, line: Line) -> None:
        deadline = time.monotonic() + self._chance.uniform(*self._plan.stay)
        while not self._stays or time.monotonic() < deadline:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    if (heard := await line.hear()) is not None:
                        group, number, position = heard
                        self._take(group, [number], position)

    def _take(self, group: str, numbers: list[int], position: str) -> None:
        self.numbers[group] += numbers
        self._positions[group] = position


async def run(name: str, scene: Scene, plan: Plan) -> Drops:
    drops = Drops(name, plan.clients)
    chance = random.Random(1)
    clients = [
        Client(scene, drops, plan, random.Random(chance.random())) for _ in range(plan.clients)
    ]
    running = [asyncio.create_task(client.run()) for client in clients]
    try:
        async with asyncio.timeout(60):
            for client in clients:
                await client.joined.wait()
        sending = asyncio.create_task(_send(scene, plan.rate))
        running.append(sending)
        await asyncio.sleep(plan.seconds / 2)
        drops.restarts = await scene.restart(plan.away)
        await asyncio.sleep(plan.seconds / 2)
        sending.cancel()
        await asyncio.wait([sending])
        for client in clients:
            client.stay()
        await comes_true(lambda: all(_has_all(scene, client) for client in clients), plan.settle)
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
    _count(drops, scene, clients)
    return drops


async def _send(scene: Scene, rate: float) -> None:
    number = 0
    while True:
        number += 1
        await asyncio.gather(scene.say(number), asyncio.sleep(1 / rate))


def _has_all(scene: Scene, client: Client) -> bool:
    return all(numbers <= {*client.numbers[group]} for group, numbers in scene.sent.items())


def _count(drops: Drops, scene: Scene, clients: list[Client]) -> None:
    drops.errors = scene.errors
    drops.sent = sum(map(len, scene.sent.values()))
    for client in clients:
        for group, numbers in client.numbers.items():
            seen: set[int] = set()
            highest = 0
            for number in numbers:
                drops.doubled += number in seen
                drops.reordered += number not in seen and number < highest
                seen.add(number)
                highest = max(highest, number)
            drops.got += len(seen & scene.sent[group])


# The scenes of the runtime alone


class RuntimeLine:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def join(self, group: str, since: str | None) -> Caught:
        await self._socket.send(json.dumps({"since": since}))
        frame = json.loads(await self._socket.recv())
        numbers = [_number_of(text) for text in frame["texts"]]
        return Caught(numbers, frame["position"], frame["complete"])

    async def hear(self) -> tuple[str, int, str]:
        frame = json.loads(await self._socket.recv())
        return GROUP, _number_of(frame["text"]), frame["position"]

    def cut(self) -> None:
        self._socket.transport.abort()


def _number_of(text: str) -> int:
    return int(text.split()[1])


class RuntimeScene:
    """`web` are the processes of the clients, whose addresses change when they are restarted.

    The sender's is one of its own, or theirs where there is one.
    """

    def __init__(self, web: list[WebProcess], sender: WebProcess, socket: ClientConnection) -> None:
        self.sent: dict[str, set[int]] = {GROUP: set()}
        self._web = web
        self._sender = sender
        self._socket = socket

    @asynccontextmanager
    async def connect(self, chance: random.Random) -> AsyncIterator[Line]:
        async with open_socket(chance.choice(self._web).address, "return") as socket:
            yield RuntimeLine(socket)

    async def say(self, number: int) -> None:
        await self._socket.send(f"s {number}")
        if await self._socket.recv() != REFUSED:
            self.sent[GROUP].add(number)

    async def restart(self, pause: float) -> int:
        others = [one for one in self._web if one is not self._sender]
        for process in others:
            await asyncio.to_thread(process.stop)
            process.start()
            await asyncio.sleep(pause)
        return len(others)

    @property
    def errors(self) -> int:
        return sum(one.errors for one in {*self._web, self._sender})


@asynccontextmanager
async def runtime_scene(layer: str) -> AsyncIterator[Scene]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        options: dict[str, Any] = {"kind": layer, "capacity": 5000}
        if layer == "queue":
            options["hosts"] = [stack.enter_context(RedisServer()).url]
        web = [
            stack.enter_context(
                WebProcess(folder / f"web-{n}.log", FAULTS_LAYER=json.dumps(options))
            )
            for n in range(3 if layer == "queue" else 1)
        ]
        sender = web.pop() if layer == "queue" else web[0]
        async with open_socket(sender.address, "send") as socket:
            yield RuntimeScene(web, sender, socket)


OpenScene = Callable[[], AbstractAsyncContextManager[Scene]]
SCENES: Mapping[str, OpenScene] = {layer: partial(runtime_scene, layer) for layer in LAYERS}


async def run_in(name: str, open_scene: OpenScene, plan: Plan) -> Drops:
    async with open_scene() as scene:
        return await run(name, scene, plan)


def main(scenes: Mapping[str, OpenScene] = SCENES) -> int:
    parser = argparse.ArgumentParser(prog="drops", description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=Plan.clients)
    parser.add_argument("--seconds", type=float, default=Plan.seconds)
    parser.add_argument("--rate", type=float, default=Plan.rate, help="messages a second")
    parser.add_argument("--layers", default=" ".join(scenes), help=" ".join(scenes))
    chosen = parser.parse_args()
    kept = True
    for name in chosen.layers.split():
        if name not in scenes:
            parser.error(f"{name!r} is none of: {' '.join(scenes)}")
        plan = Plan(chosen.clients, chosen.seconds, chosen.rate)
        drops = asyncio.run(run_in(name, scenes[name], plan))
        print(drops, flush=True)
        kept = kept and drops.kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
