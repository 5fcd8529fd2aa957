"""A worker: routes, another attempt, dead letters."""

import asyncio
from typing import Any

from fast_channels.consumer import AsyncConsumer
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.worker import Worker

DONE: dict[str, str] = {}


# consumer
class ThumbnailConsumer(AsyncConsumer):
    """Makes a thumbnail of an uploaded image."""

    async def thumbnail_make(self, message: dict[str, Any]) -> None:
        if self.scope["id"] in DONE:  # an earlier attempt got this far
            return
        if message["path"].endswith(".txt"):
            raise ValueError(f"{message['path']} is no image")
        DONE[self.scope["id"]] = message["path"]


# run
async def test_a_job_is_done() -> None:
    """What is sent to the channel is handled by the consumer that the route names."""
    layer = InMemoryChannelLayer()
    async with layer, Worker(layer, {"thumbnails": ThumbnailConsumer}, concurrency=4):
        await layer.send("thumbnails", {"type": "thumbnail.make", "path": "cat.png"})
        async with asyncio.timeout(5):
            while "cat.png" not in DONE.values():
                await asyncio.sleep(0.01)


# dead
async def test_a_job_that_fails_becomes_a_dead_letter() -> None:
    """After max_attempts the message is kept apart, and no longer tried."""
    layer = InMemoryChannelLayer()
    async with layer, Worker(layer, {"thumbnails": ThumbnailConsumer}, max_attempts=2):
        await layer.send("thumbnails", {"type": "thumbnail.make", "path": "notes.txt"})
        async with asyncio.timeout(5):
            while not (letters := await layer.dead_letters("thumbnails")):
                await asyncio.sleep(0.01)
        (letter,) = letters
        assert letter.message == {"type": "thumbnail.make", "path": "notes.txt"}
        assert letter.attempts == 2
        assert letter.reason == "ValueError('notes.txt is no image')"
