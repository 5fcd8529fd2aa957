"""The jobs: a socket queues one, a worker in whichever process does it and reports to that socket.

A job may be done twice, as when its worker dies after the work: see docs/worker.rst.
"""

import asyncio
import contextlib
from typing import Any

from fast_channels.consumer import AsyncConsumer
from fast_channels.exceptions import ChannelLayerUnavailable
from fast_channels.layers import channel_layers
from fast_channels.worker import Worker

from .settings import get_settings

CHANNEL = "jobs"
STEPS = 20


async def queue_job(job: str, reply_to: str) -> None:
    """Let a worker do a job; ``ChannelFull`` if too many wait. ``reply_to`` is a channel."""
    message = {"type": "job.run", "job": job, "steps": STEPS, "reply_to": reply_to}
    await channel_layers["jobs"].send(CHANNEL, message)


def progress(job: str, done: int, total: int = STEPS) -> dict[str, Any]:
    return {"type": "job.progress", "job": job, "done": done, "total": total}


class JobConsumer(AsyncConsumer):
    """Does one job; tells the socket that asked for it how far it is."""

    channel_layer_alias = "default"
    handlers = frozenset({"job.run"})

    async def job_run(self, message: dict[str, Any]) -> None:
        job, steps, reply_to = message["job"], message["steps"], message["reply_to"]
        for done in range(1, steps):
            await asyncio.sleep(get_settings().job_step_seconds)  # stands for the real work
            with contextlib.suppress(ChannelLayerUnavailable):  # the next report makes it good
                await self.channel_layer.send(reply_to, progress(job, done, steps))
        await self.channel_layer.send(reply_to, {"type": "job.done", "job": job, "total": steps})


def make_worker() -> Worker:
    concurrency = get_settings().worker_concurrency
    return Worker(channel_layers["jobs"], {CHANNEL: JobConsumer}, concurrency=concurrency)
