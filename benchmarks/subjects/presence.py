"""Child: connections that come to a group and leave it, each somebody else, beside a watcher in the process.

With `present` false they join the group and leave it, and presence is not used: what it costs then.
"""

import asyncio
from itertools import count, islice
from typing import Any

from ..child import Clock, Options, listen, main, say
from .layers import make_layer

MEMBERS = 50  # under way at once
GRACE = 0.05


async def work(options: Options) -> None:
    layer: Any = make_layer(options["subject"], options["kind"], options["url"])
    crowd = Crowd(layer, present=options["present"])
    await crowd.watch()
    await crowd.come_and_go()
    say(ready=True)
    listen()
    operations = 0
    clock = Clock()
    while not operations or clock.wall < options["seconds"]:
        operations += await crowd.come_and_go()
    say(operations=operations, **clock.stop())


class Crowd:
    def __init__(self, layer: Any, *, present: bool) -> None:
        self.layer = layer
        self.numbers = count()
        self.presence: Any = None
        if present:
            from fast_channels.presence import Presence

            self.presence = Presence(layer, grace=GRACE)

    async def watch(self) -> None:
        self.watcher = await self.layer.new_channel()
        if self.presence is not None:
            await self.presence.watch("room", self.watcher)

    async def come_and_go(self) -> int:
        """How many came. All have left when the watcher has been told so."""
        keys = [f"user-{number}" for number in islice(self.numbers, MEMBERS)]
        channels = [await self.layer.new_channel() for _ in keys]
        await asyncio.gather(*(self.enter(*one) for one in zip(keys, channels, strict=True)))
        await self.told("presence.joined")
        for channel in channels:
            await self.layer.close_channel(channel)
        await self.told("presence.left")
        return len(keys)

    async def enter(self, key: str, channel: str) -> None:
        await self.layer.group_add("room", channel)
        if self.presence is not None:
            await self.presence.present("room", key, {"name": key}, channel=channel)

    async def told(self, kind: str) -> None:
        for _ in range(MEMBERS if self.presence is not None else 0):
            message = await self.layer.receive(self.watcher)
            if message["type"] != kind:
                raise RuntimeError(f"{kind} was expected, not {message}")


if __name__ == "__main__":
    main(work)
