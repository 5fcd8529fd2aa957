"""Promises that libraries of this family have made and broken: checks, order, workers."""

import ast
import asyncio
import subprocess
import sys
from typing import Any

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.testing import WebsocketCommunicator
from fast_channels.worker import Worker

from ..support.children import SOURCES
from ..support.expect import eventually
from ..support.worker_bench import Bench, put

CHECKS_UNDER_O = """
import asyncio
from fast_channels.layers import InMemoryChannelLayer

assert False, "python -O removes this line"
layer = InMemoryChannelLayer()
calls = [
    lambda: layer.send("no spaces", {}),
    lambda: layer.send("x" * 100, {}),
    lambda: layer.send("fine", "not a dict"),
    lambda: layer.receive("ü"),
    lambda: layer.group_add("no/slashes", "fine"),
    lambda: layer.group_send("", {}),
    lambda: layer.group_discard(5, "fine"),
]

async def main():
    for call in calls:
        try:
            await call()
        except TypeError:
            print("refused")

asyncio.run(main())
"""


def test_promise_17_checks_survive_python_o() -> None:
    """python -O removes no check of a name or a message."""
    result = subprocess.run(
        [sys.executable, "-O", "-c", CHECKS_UNDER_O],
        cwd=SOURCES,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.stderr == ""
    assert result.stdout.split() == ["refused"] * 7


def test_promise_17_no_asserts_in_the_package() -> None:
    """No module of the package validates by `assert`."""
    modules = list(SOURCES.glob("fast_channels/**/*.py"))
    assert len(modules) > 20
    asserts = [
        f"{path.name}:{node.lineno}"
        for path in modules
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]
    assert asserts == []


async def test_promise_20_a_worker_runner_that_drains() -> None:
    """A worker handles jobs of a named channel; stopping it waits for running ones, takes no more,
    and gives back what is not done in time.
    """
    jobs, bench = InMemoryChannelLayer(), Bench()
    async with Worker(jobs, {"jobs": bench.app}, concurrency=1, drain_timeout=0.05):
        await put(jobs, 2)
        await eventually(lambda: bench.started == [0], "the first job")
    assert (bench.started, bench.ended) == ([0], [])
    bench.gate.set()
    async with Worker(jobs, {"jobs": bench.app}, concurrency=1):
        await eventually(lambda: sorted(bench.ended) == [0, 1], "both jobs")


async def test_promise_20_disconnect_comes_after_what_the_client_sent() -> None:
    """What a client sent before it left is handled before its disconnect()."""
    story: list[str] = []

    class Counting(AsyncWebsocketConsumer):
        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            await asyncio.sleep(0)
            story.append(str(text_data))

        async def disconnect(self, code: int) -> None:
            story.append("disconnect")

    client = WebsocketCommunicator(Counting, "/")
    await client.connect()
    for number in range(10):
        await client.send_to(str(number))
    await client.disconnect()
    assert story == [*map(str, range(10)), "disconnect"]
