"""Promise 19: several event loops and sync callers are safe, and leave nothing behind."""

import asyncio
import concurrent.futures
import gc
import threading
import uuid
import weakref
from typing import Any

import pytest

from fast_channels.layers import RedisChannelLayer, RedisPubSubChannelLayer

from ..support.redis_servers import RedisServer, wait_until

RUNS = 60  # fifteen times as many as connections may be there at once


@pytest.fixture(params=[RedisChannelLayer, RedisPubSubChannelLayer])
def layer(request: pytest.FixtureRequest, server: RedisServer) -> Any:
    return request.param([server.url], prefix=f"loops-{uuid.uuid4().hex[:8]}")


def connected_clients(server: RedisServer) -> int:
    """Without the connection of this question."""
    return len(server.execute("CLIENT", "LIST").splitlines()) - 1


def test_promise_19_many_loops_leave_nothing(layer: Any, server: RedisServer) -> None:
    """A sync caller's `asyncio.run` for each send: no error, few connections, none left."""
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []
    most = 0

    async def send() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        await layer.group_send("room", {"type": "hello"})

    for number in range(RUNS):
        asyncio.run(send())
        if number % 20 == 0:
            most = max(most, connected_clients(server))
    assert most <= 4
    wait_until(lambda: connected_clients(server) == 0, what="the connections to end")
    gc.collect()
    assert sum(loop() is not None for loop in loops) <= 2


def test_promise_19_receiving_in_many_loops(layer: Any, server: RedisServer) -> None:
    """A whole conversation in each of 20 loops, one after the other."""

    async def talk(number: int) -> Any:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_send("room", {"number": number})
        async with asyncio.timeout(30):
            return await layer.receive(channel)

    for number in range(20):
        assert asyncio.run(talk(number)) == {"number": number}
    wait_until(lambda: connected_clients(server) == 0, what="the connections to end")


def test_promise_19_loops_in_threads_at_once(layer: Any, server: RedisServer) -> None:
    """Eight threads, each with a loop, share a layer: each receives what all the others sent."""
    everybody = 8
    ready = concurrent.futures.ThreadPoolExecutor(everybody)

    async def talk(number: int, joined: Any) -> set[int]:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await asyncio.to_thread(joined.wait, 20)
        await layer.group_send("room", {"number": number})
        async with asyncio.timeout(30):
            return {(await layer.receive(channel))["number"] for _ in range(everybody)}

    joined = threading.Barrier(everybody)
    with ready as threads:
        heard = list(threads.map(lambda n: asyncio.run(talk(n, joined)), range(everybody)))
    assert heard == [set(range(everybody))] * everybody
    wait_until(lambda: connected_clients(server) == 0, what="the connections to end")


def test_promise_19_no_loop_is_patched() -> None:
    """The event loop's own methods are asyncio's, with all layers imported."""
    loop = asyncio.new_event_loop()
    try:
        assert type(loop).close.__module__.startswith("asyncio.")
        assert asyncio.BaseEventLoop.close.__module__ == "asyncio.base_events"
    finally:
        loop.close()
