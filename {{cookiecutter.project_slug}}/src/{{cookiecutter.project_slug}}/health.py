"""Whether the app can do its work: a message goes through each layer and comes back."""

import asyncio
import uuid
from collections.abc import Iterable

from fast_channels.layers import BaseChannelLayer

TIMEOUT = 2.0  # seconds for all layers together


async def is_ready(layers: Iterable[BaseChannelLayer]) -> bool:
    try:
        async with asyncio.timeout(TIMEOUT):
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
