"""Cuts clients off again and again while messages flow, and counts what they got in the end: `make drops`.

Each client joins a group, and comes back with its last position, as a browser does. Its connection is
cut without a farewell after some seconds, and it stays away for two. With the queue two web processes
serve them, and near the end each of these is restarted in turn, in order (SIGTERM); the memory layer
lives in one process, which stays. Printed are the share of all messages that the clients got, those that came
twice or out of order, the returns that were not told to be complete, and how long a return took.

Status 1 says that a layer which promises recovery missed 100 % or doubled something.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from ..support.redis_servers import RedisServer
from .clients import Sender, open_socket
from .processes import WebProcess
from .waiting import SETTLE_SECONDS, comes_true

AWAY_SECONDS = 2.0
STAYS = (1.0, 4.0)  # seconds, at random
PAUSE = 0.05  # seconds between two attempts to connect
LAYERS = ("memory", "queue")
SENDER = "s"


@dataclass(frozen=True)
class Plan:
    clients: int = 100
    seconds: float = 30.0
    rate: float = 50.0  # messages a second


@dataclass
class Drops:
    """What a run counted. `cuts` and `restarts` happened; `returns` are seconds, each of a joining."""

    layer: str
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
            f"{self.layer}: {self.clients} clients, {self.sent} messages, {self.cuts} cuts, "
            f"{self.restarts} restarts\n"
            f"  delivered {self.delivered:.4%}, doubled {self.doubled}, out of order {self.reordered}, "
            f"not complete {self.incomplete}, tracebacks {self.errors}\n"
            f"  a return took {statistics.median(returns) * 1000:.0f} ms (median), "
            f"{p99 * 1000:.0f} ms (99 %), {returns[-1] * 1000:.0f} ms (longest)"
        )


class Client:
    """One that comes back. `web` are the processes, whose addresses change when they are restarted."""

    def __init__(self, web: list[WebProcess], drops: Drops, chance: random.Random) -> None:
        self.numbers: list[int] = []
        self.joined = asyncio.Event()
        self._web = web
        self._drops = drops
        self._chance = chance
        self._position: str | None = None
        self._stays = True

    async def run(self) -> None:
        while True:
            with suppress(OSError, InvalidHandshake, ConnectionClosed, EOFError, TimeoutError):
                await self._visit()
            await asyncio.sleep(PAUSE)

    def stay(self) -> None:
        """No more cuts: the end is near."""
        self._stays = False

    async def _visit(self) -> None:
        began = time.monotonic()
        async with open_socket(self._chance.choice(self._web).address, "return") as socket:
            await socket.send(json.dumps({"since": self._position}))
            frame = json.loads(await socket.recv())
            if self._position is not None:
                self._drops.returns.append(time.monotonic() - began)
            self._drops.incomplete += not frame["complete"]
            self._take(frame["texts"], frame["position"])
            self.joined.set()
            deadline = time.monotonic() + self._chance.uniform(*STAYS)
            while not self._stays or time.monotonic() < deadline:
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        frame = json.loads(await socket.recv())
                        self._take([frame["text"]], frame["position"])
            self._drops.cuts += 1
            socket.transport.abort()
        await asyncio.sleep(AWAY_SECONDS)

    def _take(self, texts: list[str], position: str) -> None:
        self.numbers += [int(text.split()[1]) for text in texts]
        self._position = position


async def run(layer: str, plan: Plan) -> Drops:
    drops = Drops(layer, plan.clients)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        web = _start(layer, folder, stack)
        # With the queue the sender has a process of its own, which is not restarted.
        sending = web.pop() if layer == "queue" else web[0]
        chance = random.Random(1)
        clients = [Client(web, drops, random.Random(chance.random())) for _ in range(plan.clients)]
        running = [asyncio.create_task(client.run()) for client in clients]
        try:
            async with asyncio.timeout(60):
                for client in clients:
                    await client.joined.wait()
            async with open_socket(sending.address, "send") as socket:
                sender = Sender(socket, SENDER, plan.rate)
                sends = asyncio.create_task(sender.run())
                await asyncio.sleep(plan.seconds / 2)
                if layer == "queue":
                    await _restart(web, drops)
                await asyncio.sleep(plan.seconds / 2)
                sender.stop()
                await sends
            _finish(clients)
            numbers = set(range(1, sender.sent.last + 1)) - sender.sent.refused
            await comes_true(lambda: all(numbers <= {*c.numbers} for c in clients), SETTLE_SECONDS)
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)
        _count(drops, clients, numbers)
        drops.errors = sum(one.errors for one in {*web, sending})
    return drops


def _start(layer: str, folder: Path, stack: AsyncExitStack) -> list[WebProcess]:
    options: dict[str, Any] = {"kind": layer, "capacity": 5000}
    number = 1
    if layer == "queue":
        server = stack.enter_context(RedisServer())
        options["hosts"] = [server.url]
        number = 3
    text = json.dumps(options)
    return [
        stack.enter_context(WebProcess(folder / f"web-{n}.log", FAULTS_LAYER=text))
        for n in range(number)
    ]


async def _restart(web: list[WebProcess], drops: Drops) -> None:
    for process in web:
        await asyncio.to_thread(process.stop)
        process.start()
        drops.restarts += 1
        await asyncio.sleep(AWAY_SECONDS)


def _finish(clients: list[Client]) -> None:
    for client in clients:
        client.stay()


def _count(drops: Drops, clients: list[Client], numbers: set[int]) -> None:
    drops.sent = len(numbers)
    for client in clients:
        seen: set[int] = set()
        highest = 0
        for number in client.numbers:
            drops.doubled += number in seen
            drops.reordered += number not in seen and number < highest
            seen.add(number)
            highest = max(highest, number)
        drops.got += len(seen & numbers)


def main() -> int:
    parser = argparse.ArgumentParser(prog="drops", description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=Plan.clients)
    parser.add_argument("--seconds", type=float, default=Plan.seconds)
    parser.add_argument("--rate", type=float, default=Plan.rate, help="messages a second")
    parser.add_argument("--layers", default=" ".join(LAYERS), help=" ".join(LAYERS))
    chosen = parser.parse_args()
    kept = True
    for layer in chosen.layers.split():
        plan = Plan(chosen.clients, chosen.seconds, chosen.rate)
        drops = asyncio.run(run(layer, plan))
        print(drops, flush=True)
        kept = kept and drops.kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
