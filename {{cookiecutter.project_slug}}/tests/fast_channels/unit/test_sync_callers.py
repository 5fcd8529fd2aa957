"""A sync worker, as of a task queue, that calls the layer many times through asgiref."""

import asyncio
import concurrent.futures
import gc
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from fast_channels.layers import RedisChannelLayer, RedisPubSubChannelLayer

from ..support.redis_servers import RedisServer, wait_until

CALLS = 60  # six times as many as connections or loops may be there at once
THREADS = 4
LINKS = 2  # connections that one event loop of a layer may have: for commands, for subscriptions

Call = Callable[..., Any]


@pytest.fixture(params=[RedisChannelLayer, RedisPubSubChannelLayer])
def layer(request: pytest.FixtureRequest, server: RedisServer) -> Any:
    prefix = f"sync-{uuid.uuid4().hex[:8]}"
    options = {"capacity": CALLS} if request.param is RedisChannelLayer else {}
    return request.param([server.url], prefix=prefix, **options)


class Census:
    """The most clients that a server had, asked again and again while the block runs."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._count)
        self.most = 0

    def _count(self) -> None:
        while not self._ended.wait(0.02):
            self.most = max(self.most, clients(self._server))

    def __enter__(self) -> "Census":
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ended.set()
        self._thread.join()


def clients(server: RedisServer) -> int:
    """Without the connection of this question."""
    return len(server.execute("CLIENT", "LIST").splitlines()) - 1


def event_loops() -> int:
    """How many there are in memory."""
    gc.collect()
    return sum(isinstance(one, asyncio.AbstractEventLoop) for one in gc.get_objects())


def call_from_threads(call: Call, threads: int) -> None:
    """`CALLS` calls, shared out; an error of one is an error here."""
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        list(pool.map(call, range(CALLS)))


@pytest.mark.parametrize("threads", [1, THREADS])
def test_many_group_sends(layer: Any, server: RedisServer, threads: int) -> None:
    """No error, few connections, none left, and no loop kept."""
    group_send = async_to_sync(layer.group_send)
    loops_before = event_loops()
    with Census(server) as census:
        call_from_threads(lambda n: group_send("room", {"number": n}), threads)
    assert 0 < census.most <= (threads + 1) * LINKS, "one loop per thread, and those just ended"
    wait_until(lambda: clients(server) == 0, what="the connections to end")
    assert len(layer._loop_layers) <= threads + 1
    assert event_loops() - loops_before <= threads + 1


def test_many_sends_arrive(server: RedisServer) -> None:
    """What sync callers in several threads send to a named channel is all there, once."""
    layer = RedisChannelLayer([server.url], capacity=CALLS)
    call_from_threads(lambda n: async_to_sync(layer.send)("jobs", {"number": n}), THREADS)

    async def take_all() -> list[int]:
        async with asyncio.timeout(30):
            return [(await layer.receive("jobs"))["number"] for _ in range(CALLS)]

    assert sorted(async_to_sync(take_all)()) == list(range(CALLS))
    wait_until(lambda: clients(server) == 0, what="the connections to end")


async def test_loops_that_end_while_another_one_begins(layer: Any) -> None:
    """In their threads: what they take with them disturbs no look for those that have ended."""
    loop_layers = layer._loop_layers

    class Ending:
        def is_closed(self) -> bool:
            return bool(loop_layers.pop(self, None))

    loop_layers.update({Ending(): None for _ in range(3)})
    await layer.group_send("room", {"number": 1})
    assert len(loop_layers) == 1
    await layer.aclose()


async def test_a_sync_caller_inside_an_async_app(layer: Any, server: RedisServer) -> None:
    """Sync code in a thread of a running app calls through the app's loop: no further connection."""
    await layer.group_send("room", {"number": -1})
    before = clients(server)
    group_send = async_to_sync(layer.group_send)
    with Census(server) as census:
        await sync_to_async(call_many)(group_send)
    assert census.most <= before + LINKS
    await layer.aclose()
    assert layer._loop_layers == {}


def call_many(group_send: Call) -> None:
    for number in range(CALLS):
        group_send("room", {"number": number})
