"""A layer ends whenever it is closed, and with its event loop if nobody closes it."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from itertools import product

import pytest

from fast_channels.layers import BaseChannelLayer, RedisChannelLayer
from fast_channels.layers.redis.layer import RedisLayer

from ..support.backends import REDIS, over
from ..support.children import SOURCES
from .conftest import backend_of

MakeLayer = Callable[..., BaseChannelLayer]

DEADLINE = 10.0  # seconds; a close that hangs does so for ever


@over(REDIS)
@pytest.mark.parametrize("late", [0.0, 0.3, 1.0], ids=["at once", "while it connects", "later"])
async def test_a_layer_can_be_closed_while_it_connects(make_layer: MakeLayer, late: float) -> None:
    """At any moment: redis-py may swallow the cancellation then, and did."""
    for moment in range(25 if late else 5):  # of the same moment fewer will do
        layer = make_layer()
        await layer.open()
        await asyncio.sleep(late * moment * 0.001)
        async with asyncio.timeout(DEADLINE):
            await layer.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@over(["pubsub-cluster", "queue-cluster"])
async def test_a_layer_can_be_closed_as_its_map_is_found_stale(make_layer: MakeLayer) -> None:
    """The event comes in the same step as the cancellation, which must not get lost for it."""
    layer = make_layer()
    assert isinstance(layer, RedisLayer)
    await layer.group_add("g", await layer.new_channel())
    await layer.flush()  # the map is there
    await asyncio.sleep(0.3)  # more than the pause after it
    layer.loop_layer.topology.mark_stale()  # type: ignore[attr-defined]
    async with asyncio.timeout(DEADLINE):
        await layer.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


# Tries all layers and servers in one process: most of its time goes to its start.
PROGRAM = """
import asyncio, gc, logging, os, sys
from itertools import product
from asgiref.sync import async_to_sync
from fast_channels.layers import RedisChannelLayer, RedisPubSubChannelLayer

logging.basicConfig(level=logging.WARNING)
backends = list(zip(*[iter(sys.argv[1:])] * 3))

async def use(layer, moment):
    asyncio.get_running_loop().slow_callback_duration = 60  # no matter of this test
    await layer.open()
    if moment == "while it connects":
        return
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await layer.group_send("room", {"type": "x"})
    await layer.receive(channel)
    left = [layer.group_send("room", {"type": "x"}), layer.receive("named"), layer.receive(channel)]
    tasks = [asyncio.ensure_future(work) for work in left]
    await asyncio.sleep(0)

def run(layer, moment):
    asyncio.run(use(layer, moment))

def run_sync(layer, moment):
    async_to_sync(use)(layer, moment)

def files():
    gc.collect()
    return len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0

for (kind, url, prefix), end, moment in product(
    backends, (run, run_sync), ("in use", "while it connects")
):
    for file in (sys.stdout, sys.stderr):
        print(prefix, end.__name__, moment, file=file)
    layer = globals()[kind]([url], prefix=prefix)
    before = files()
    for _ in range(3):
        end(layer, moment)
    assert files() == before, (files(), before)
    assert not layer._loop_layers, layer._loop_layers
"""


async def test_a_loop_that_ends_takes_the_layer_with_it(request: pytest.FixtureRequest) -> None:
    """By `asyncio.run` and by `async_to_sync`, in use and while it connects: without a word, also with
    all warnings on, and without a file or a peer that stays.
    """
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM]
    for name in REDIS:
        backend = backend_of(name, request)
        kind = "RedisChannelLayer" if backend.is_queue else "RedisPubSubChannelLayer"
        command += [kind, backend.url, name]
    ends, moments = ("run", "run_sync"), ("in use", "while it connects")
    tried = [" ".join(one) for one in product(REDIS, ends, moments)]
    result = await asyncio.to_thread(
        subprocess.run,
        command,
        env={"PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        timeout=240,  # on a starved machine
    )
    assert result.stderr.splitlines() == tried  # and nothing else, before or after one of them
    assert result.stdout.splitlines() == tried


@over(["queue-standalone"])
async def test_a_closed_layer_leaves_its_loop_alone(make_layer: MakeLayer) -> None:
    """What closes the layer with the loop goes when it is closed; it can be opened again."""
    layer = make_layer()
    assert isinstance(layer, RedisChannelLayer)
    for _ in range(3):
        await layer.send(await layer.new_channel(), {"type": "x"})
        assert len(layer._loop_layers) == 1
        await layer.aclose()
        assert layer._loop_layers == {}
