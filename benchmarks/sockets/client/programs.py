"""What a crowd does: each program prepares, says it is ready, and does the counted part.

A program is an async generator: it yields ``READY`` when everything is joined and warm, then its
figures.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

from .crowd import open_all, open_socket
from .dialects import DIALECTS
from .plan import Plan
from .socket import Socket
from .tally import Tally
from .window import Window

Figures = dict[str, float]
Program = Callable[[Plan], AsyncGenerator[Figures, None]]

READY: Figures = {}
WARM_UP = 0.15  # of the counted seconds
CHURN_LANES = 20


def new_tally(plan: Plan, sockets: list[Socket], *, room: bool, senders: int = 1) -> Tally:
    tally = Tally(DIALECTS[plan.dialect], len(sockets), room=room, senders=senders)
    for socket in sockets:
        socket.on_message = tally.receiver()
    return tally


def figures(*tallies: Tally) -> Figures:
    return {
        "operations": sum(tally.received for tally in tallies),
        "messages": sum(tally.sent for tally in tallies),
        "lost": sum(tally.lost for tally in tallies),
        "most lost": max(tally.most_lost for tally in tallies),
        "disordered": sum(tally.disordered for tally in tallies),
    }


async def run_windows(windows: list[Window], seconds: float) -> None:
    for window in windows:
        window.start()
    await asyncio.sleep(seconds)
    for window in windows:
        window.stop()
    await asyncio.gather(*(window.drained for window in windows))


async def saturate(plan: Plan) -> AsyncGenerator[Figures, None]:
    """Room: ``senders`` members, or as many as the window is wide, take turns at sending; all receive."""
    sockets = await open_all(plan, plan.clients, "room")
    senders = min(plan.senders or plan.window, len(sockets))

    async def run(seconds: float) -> Tally:
        tally = new_tally(plan, sockets, room=True, senders=senders)

        def send(frame: bytes) -> None:
            sockets[(tally.sent - 1) % senders].send(frame)

        await run_windows([Window(tally, plan.window, send)], seconds)
        return tally

    await run(plan.seconds * WARM_UP)
    yield READY
    yield figures(await run(plan.seconds))


async def echo(plan: Plan) -> AsyncGenerator[Figures, None]:
    """Each socket keeps a window of its own messages under way."""
    sockets = await open_all(plan, plan.clients, None)

    async def run(seconds: float) -> list[Tally]:
        tallies = [new_tally(plan, [socket], room=False) for socket in sockets]
        windows = [
            Window(tally, plan.window, socket.send, bursts=plan.bursts)
            for tally, socket in zip(tallies, sockets, strict=True)
        ]
        await run_windows(windows, seconds)
        return tallies

    await run(plan.seconds * WARM_UP)
    yield READY
    yield figures(*await run(plan.seconds))


async def pace(plan: Plan) -> AsyncGenerator[Figures, None]:
    """Room: messages at a fixed rate; latency in seconds from the moment each was due."""
    sockets = await open_all(plan, plan.clients, "room")

    async def run(seconds: float) -> tuple[Tally, list[float]]:
        tally = new_tally(plan, sockets, room=True)
        latencies: list[float] = []
        start = time.perf_counter()
        tally.on_arrival = lambda seq: latencies.append(
            time.perf_counter() - start - seq / plan.rate
        )
        for number in range(int(seconds * plan.rate)):
            await asyncio.sleep(start + number / plan.rate - time.perf_counter())
            sockets[0].send(tally.next_frame())
        await tally.settle()
        return tally, sorted(latencies)

    await run(plan.seconds * WARM_UP)
    yield READY
    tally, latencies = await run(plan.seconds)
    yield figures(tally) | {"p50": percentile(latencies, 50), "p99": percentile(latencies, 99)}


def percentile(latencies: list[float], percent: int) -> float:
    """Milliseconds of sorted seconds; 0 when nothing arrived."""
    return latencies[len(latencies) * percent // 100] * 1e3 if latencies else 0.0


async def churn(plan: Plan) -> AsyncGenerator[Figures, None]:
    """Lanes of sockets that connect, join, receive one frame and leave, over and over."""

    async def lane(number: int, end: float) -> int:
        count = 0
        while time.perf_counter() < end:
            socket = await open_socket(plan, number, "room")
            await socket.close()
            count += 1
        return count

    async def run(seconds: float) -> int:
        end = time.perf_counter() + seconds
        return sum(await asyncio.gather(*(lane(number, end) for number in range(CHURN_LANES))))

    await run(plan.seconds * WARM_UP)
    yield READY
    yield {"operations": await run(plan.seconds)}


async def idle(plan: Plan) -> AsyncGenerator[Figures, None]:
    """Sockets that stay open and silent until the process ends; those of before stay as well."""
    room = "room" if plan.rooms else None
    before = await open_all(plan, plan.before, room, plan.rooms)
    yield READY
    counted = await open_all(plan, plan.clients, room, plan.rooms)
    yield {"operations": len(counted), "before": len(before)}


PROGRAMS: dict[str, Program] = {
    "room": saturate,
    "echo": echo,
    "pace": pace,
    "churn": churn,
    "idle": idle,
}
