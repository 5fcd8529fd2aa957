"""Whether layers do their work. Knows no layer in particular."""

import asyncio
import uuid
from collections.abc import Iterable

from .base import BaseChannelLayer


async def is_ready(layers: Iterable[BaseChannelLayer], timeout: float = 2.0) -> bool:
    """Whether a message goes through each layer and comes back, within `timeout` seconds for all."""
    try:
        async with asyncio.timeout(timeout):
            for layer in layers:
                await round_trip(layer)
    except (OSError, TimeoutError):
        return False
    return True


async def round_trip(layer: BaseChannelLayer) -> None:
    channel = await layer.new_channel()
    token = uuid.uuid4().hex
    try:
        await layer.send(channel, {"type": "health", "token": token})
        while (await layer.receive(channel))["token"] != token:
            pass
    finally:
        await layer.close_channel(channel)
