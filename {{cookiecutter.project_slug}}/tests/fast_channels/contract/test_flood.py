"""Many more sends at once than may be under way: each waits for its turn, none fails.

That the time of each begins with its turn is in `unit/test_redis_connection`, with a slow server.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from fast_channels.layers import BaseChannelLayer
from fast_channels.layers.redis.client import commands as commands_module

from ..support.backends import QUEUE, REDIS, over

MakeLayer = Callable[..., BaseChannelLayer]

NUMBER = 3_000  # fifteen times as many as Redis is given at once


@over(REDIS)
@pytest.mark.parametrize("target", ["groups", "named channels"])
async def test_a_flood_to_many_topics(
    make_layer: MakeLayer, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command for each, of which Redis executes a few hundred at a time."""
    monkeypatch.setattr(commands_module, "MAX_PENDING", 200)  # whose time runs at once
    layer = make_layer()
    await layer.flush()  # connects to all
    send = layer.group_send if target == "groups" else layer.send
    await all_at_once(lambda number: send(f"topic{number}", {"type": "x"}))


@over(QUEUE)
async def test_a_flood_of_one_channel(make_layer: MakeLayer) -> None:
    """They arrive in the order of their sends."""
    layer = make_layer(capacity=NUMBER)
    await layer.flush()
    await all_at_once(lambda number: layer.send("jobs", {"number": number}))
    received = [(await layer.receive("jobs"))["number"] for _ in range(100)]
    assert received == list(range(100))


@over(["queue-sentinel"])
async def test_a_flood_that_waits_for_replicas(make_layer: MakeLayer) -> None:
    """Also what has to be confirmed by a replica."""
    layer = make_layer(durability="replicated")
    await all_at_once(lambda number: layer.group_send(f"topic{number}", {"type": "x"}))


async def all_at_once(send: Callable[[int], Awaitable[None]]) -> None:
    results = await asyncio.gather(*map(send, range(NUMBER)), return_exceptions=True)
    assert [result for result in results if result is not None] == []
