"""``python -m benchmarks.sockets.client PLAN``: a load process that speaks JSON lines on its pipes.

It says that it is ready, waits for a line, does its counted part, says its figures, and keeps its
sockets open until it is killed or its standard input ends.
"""

import asyncio
import json
import resource
import sys
import time
from contextlib import aclosing

import uvloop

from .plan import Plan
from .programs import PROGRAMS, Figures


def raise_file_limit() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def read_line() -> str:
    """Of standard input, in a thread: the sockets are served meanwhile."""
    return await asyncio.to_thread(sys.stdin.readline)


async def serve(plan: Plan) -> None:
    async with aclosing(PROGRAMS[plan.program](plan)) as program:
        say(await anext(program))
        await read_line()
        cpu, wall = time.process_time(), time.perf_counter()
        figures = await anext(program)
        took = {"wall": time.perf_counter() - wall, "client_cpu": time.process_time() - cpu}
        say(figures | took)
        await read_line()


def say(figures: Figures) -> None:
    print(json.dumps(figures), flush=True)


raise_file_limit()
uvloop.run(serve(Plan.from_json(sys.argv[1])))
