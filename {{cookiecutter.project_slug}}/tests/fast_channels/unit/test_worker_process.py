"""The worker as a process of its own: it works until SIGTERM or SIGINT, then drains."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ..support.children import SOURCES

STUBBORN = """
import asyncio, sys
from fast_channels import worker
from fast_channels.consumer import AsyncConsumer
from fast_channels.layers import InMemoryChannelLayer

worker.CANCEL_TIMEOUT = 0.5

class Stubborn(AsyncConsumer):
    async def job(self, message):
        print("started", flush=True)
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass

async def main():
    layer = InMemoryChannelLayer()
    await layer.send("jobs", {"type": "job"})
    await worker.Worker(layer, {"jobs": Stubborn}, drain_timeout=0.1).run()
    print("stopped", await layer.depth("jobs"), flush=True)

asyncio.run(main())
"""

PROGRAM = """
import asyncio, signal, sys
from fast_channels.consumer import AsyncConsumer
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.worker import Worker

def say(text):
    print(text, flush=True)

class Slow(AsyncConsumer):
    async def job(self, message):
        say("started")
        await asyncio.sleep(0.3)
        say("ended")

async def main():
    layer = InMemoryChannelLayer()
    await layer.send("jobs", {"type": "job"})
    await Worker(layer, {"jobs": Slow}).run()
    restored = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    say("stopped, " + ("signals restored" if restored else "signals kept"))

asyncio.run(main())
"""


@pytest.fixture
def program() -> str:
    return PROGRAM


@pytest.fixture
def worker(program: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        cwd=SOURCES,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_drains(worker: "subprocess.Popen[str]", number: signal.Signals) -> None:
    """On the signal run() lets the handler finish, returns, and puts the signals back."""
    assert worker.stdout is not None
    async with asyncio.timeout(30):
        assert await asyncio.to_thread(worker.stdout.readline) == "started\n"
        worker.send_signal(number)
        output, errors = await asyncio.to_thread(worker.communicate)
    assert output == "ended\nstopped, signals restored\n"
    assert errors == ""
    assert worker.returncode == 0


@pytest.mark.parametrize("program", [STUBBORN])
async def test_a_handler_that_ignores_its_cancellation_keeps_no_process(
    worker: "subprocess.Popen[str]",
) -> None:
    """Its message is given back, one line names it, and the process ends: `asyncio.run` does not wait."""
    assert worker.stdout is not None
    async with asyncio.timeout(30):
        assert await asyncio.to_thread(worker.stdout.readline) == "started\n"
        worker.send_signal(signal.SIGTERM)
        output, errors = await asyncio.to_thread(worker.communicate)
    assert output == "stopped Depth(waiting=1, leased=0, dead=0)\n"
    assert "1 task(s) ignore their cancellation: message " in errors
    assert len(errors.splitlines()) == 1
    assert worker.returncode == 0
