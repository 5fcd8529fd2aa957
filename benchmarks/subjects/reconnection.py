"""Child: a process whose connection is cut once; its groups, newcomers and its loop are watched."""

import asyncio
import time

from redis.asyncio import Redis

from ..child import Clock, Options, listen, main, say
from .layers import Layer, make_layer

BATCH = 500  # joins and sends under way
PROBES = 1000  # groups, evenly spread, that get a message after the cut
STEP = 0.005  # seconds


async def work(options: Options) -> None:
    layer, sender = (make_layer(options["subject"], "queue", options["url"]) for _ in range(2))
    channels = await _join(layer, options["groups"])
    if options["active"]:
        await _send(sender, range(len(channels)))
        await _receive(layer, channels)
    probes = range(0, len(channels), max(len(channels) // PROBES, 1))
    await sender.group_send("group.0", {"type": "warm"})
    await layer.receive(channels[0])
    say(ready=True)
    listen()
    clock = Clock()
    held: list[float] = []
    joins: list[float] = []
    watching = [asyncio.create_task(_watch(held)), asyncio.create_task(_newcomers(layer, joins))]
    async with Redis.from_url(options["url"]) as redis:
        await redis.client_kill_filter(_type="pubsub")
    await _send(sender, probes)
    await _receive(layer, [channels[number] for number in probes])
    seconds = clock.wall
    await asyncio.sleep(STEP * 2)
    for task in watching:
        task.cancel()
    extra = {"seconds": seconds, "join max": max(joins), "loop held": max(held)}
    say(operations=len(channels), **clock.stop(), extra=extra)


async def _join(layer: Layer, number: int) -> list[str]:
    channels = [await layer.new_channel() for _ in range(number)]
    for start in range(0, number, BATCH):
        names = range(start, min(start + BATCH, number))
        await asyncio.gather(*(layer.group_add(f"group.{n}", channels[n]) for n in names))
    return channels


async def _send(layer: Layer, groups: range) -> None:
    for start in range(0, len(groups), BATCH):
        some = groups[start : start + BATCH]
        await asyncio.gather(*(layer.group_send(f"group.{n}", {"type": "probe"}) for n in some))


async def _receive(layer: Layer, channels: list[str]) -> None:
    for channel in channels:
        await layer.receive(channel)


async def _watch(held: list[float]) -> None:
    """How long the loop was held: how late it goes on, but no more than the CPU that it used then."""
    while True:
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(STEP)
        held.append(min(time.perf_counter() - began - STEP, time.process_time() - cpu))


async def _newcomers(layer: Layer, joins: list[float]) -> None:
    while True:
        channel = await layer.new_channel()
        began = time.perf_counter()
        await layer.group_add(f"newcomer.{len(joins)}", channel)
        joins.append(time.perf_counter() - began)
        await asyncio.sleep(STEP)


if __name__ == "__main__":
    main(work)
