"""Many sockets at once: opened a few at a time, each joined before it counts."""

import asyncio
from collections.abc import Coroutine

from .dialects import DIALECTS
from .plan import Plan
from .socket import Socket

AT_A_TIME = 20  # servers listen with a backlog; a crowd at the door is not what is measured
PATIENCE = 30.0  # seconds for one socket to be joined


async def open_socket(plan: Plan, number: int, room: str | None) -> Socket:
    """Connected to one of the plan's servers in turn, and joined."""
    loop = asyncio.get_running_loop()
    dialect = DIALECTS[plan.dialect]
    greeted = room is not None or plan.dialect != "plain"
    port = plan.ports[number % len(plan.ports)]
    _, socket = await loop.create_connection(
        lambda: Socket(dialect, room, greeted), "127.0.0.1", port
    )
    async with asyncio.timeout(PATIENCE):
        await socket.joined
    return socket


async def open_all(plan: Plan, count: int, room: str | None, rooms: int = 1) -> list[Socket]:
    """``count`` sockets; with several ``rooms`` each is in one of them in turn: room-0, room-1 …

    The first of each room and server opens alone: of several that join a channel of broadcaster's at
    once when it is empty, only the last hears anything.
    """

    def open_numbered(number: int) -> Coroutine[None, None, Socket]:
        name = room if room is None or rooms == 1 else f"{room}-{number % rooms}"
        return open_socket(plan, number, name)

    alone = min(count, rooms * len(plan.ports))
    sockets = [await open_numbered(number) for number in range(alone)]
    for start in range(alone, count, AT_A_TIME):
        numbers = range(start, min(start + AT_A_TIME, count))
        sockets += await asyncio.gather(*map(open_numbered, numbers))
    return sockets
