"""Child: a group in which one member stops reading while the others go on."""

import asyncio
import time
from typing import Any

from ..child import Options, listen, main, say
from .groups import PATIENCE, TEXT
from .rooms import Receive, open_rooms

OTHERS = 9
SILENCE = 0.5  # seconds without a message, after which the stalled member has all that it gets


async def work(options: Options) -> None:
    rooms = await open_rooms(options)
    stalled, *others = [await rooms.join("room") for _ in range(OTHERS + 1)]
    say(ready=True)
    listen()
    started = time.process_time(), time.perf_counter()
    refused, got = 0, [0] * OTHERS
    for start in range(0, options["messages"], options["window"]):
        sends = (
            rooms.publish("room", {"type": "chat.message", "text": TEXT, "n": number})
            for number in range(start, start + options["window"])
        )
        answers = await asyncio.gather(*sends, return_exceptions=True)
        refused += sum(isinstance(answer, Exception) for answer in answers)
        for place, receive in enumerate(others):
            got[place] += await _take(receive, options["window"], PATIENCE)
    cpu, wall = time.process_time() - started[0], time.perf_counter() - started[1]
    held = await _take(stalled, options["messages"], SILENCE)
    counted = rooms.dropped()
    extra: dict[str, Any] = {
        "others": min(got),
        "stalled got": held,
        "dropped": options["messages"] - held,
        "counted": counted or 0,
        "errors": refused,
    }
    say(operations=options["messages"], cpu=cpu, wall=wall, extra=extra)


async def _take(receive: Receive, most: int, patience: float) -> int:
    """How many messages come, each within so many seconds."""
    taken = 0
    try:
        while taken < most:
            async with asyncio.timeout(patience):
                await receive()
            taken += 1
    except (TimeoutError, StopAsyncIteration):
        pass
    return taken


if __name__ == "__main__":
    main(work)
