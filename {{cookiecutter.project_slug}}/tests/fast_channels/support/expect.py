"""Waiting, in async tests, for what has to happen, with a deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fast_channels.layers import BaseChannelLayer

DEADLINE = 30.0  # seconds; only a failing test waits so long, also on a starved machine


async def messages(
    layer: BaseChannelLayer, channel: str, count: int = 1, *, within: float = DEADLINE
) -> list[dict[str, Any]]:
    """The next `count` messages of a channel."""
    received: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(within):
            while len(received) < count:
                received.append(await layer.receive(channel))
    except TimeoutError:
        raise AssertionError(
            f"{channel} received {len(received)} of {count} messages; last: {received[-3:]}"
        ) from None
    return received


async def silence(layer: BaseChannelLayer, channel: str) -> None:
    """Nothing has come to the channel: what is sent to it now is the next that it receives.

    The channel's own process sends it, after all that went through the same server before.
    """
    marker = {"type": "nothing came before this"}
    await layer.send(channel, marker)
    assert await messages(layer, channel) == [marker], f"{channel} was to hear nothing"


async def eventually(
    condition: Callable[[], bool | Awaitable[bool]], what: str, *, within: float = DEADLINE
) -> None:
    """Return as soon as the condition, which may be async, is true."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while True:
        answer = condition()
        if answer if isinstance(answer, bool) else await answer:
            return
        assert loop.time() < deadline, f"waited {within} s for {what}"
        await asyncio.sleep(0.01)
