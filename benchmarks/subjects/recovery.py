"""Child: clients come back to a group, in which somebody has stayed, and get what they missed.

Those that come at the same time ask for the same, as after a deploy; the next ones make the layer read anew.
"""

import asyncio
from itertools import count
from typing import Any

from ..child import Clock, Options, listen, main, say
from .layers import make_layer

TEXT = "x" * 64
ROOM = "room"


async def work(options: Options) -> None:
    layer: Any = make_layer(options["subject"], options["kind"], options["url"])
    returns = Returns(layer, options["clients"], options["missed"])
    await returns.prepare()
    await returns.all_at_once()
    say(ready=True)
    listen()
    rounds = 0
    clock = Clock()
    while not rounds or clock.wall < options["seconds"]:
        await returns.all_at_once()
        rounds += 1
    each = options["missed"] if options["per_message"] else 1
    say(operations=rounds * options["clients"] * each, **clock.stop())


class Returns:
    def __init__(self, layer: Any, clients: int, missed: int) -> None:
        self.layer = layer
        self.clients = clients
        self.missed = missed
        self.since = ""
        # A reading is shared by those that ask for the same, for a while; this tells them apart.
        self.histories = count()

    async def prepare(self) -> None:
        resident = await self.layer.new_channel()
        self.since = (await self.layer.join(ROOM, resident)).position
        for number in range(self.missed):
            message = {"type": "chat.message", "text": TEXT, "n": number}
            await self.layer.group_send(ROOM, message)

    async def all_at_once(self) -> None:
        history = next(self.histories) % 1000
        channels = [await self.layer.new_channel() for _ in range(self.clients)]
        await asyncio.gather(*(self.come_back(channel, history) for channel in channels))
        for channel in channels:
            await self.layer.close_channel(channel)

    async def come_back(self, channel: str, history: int) -> None:
        joined = await self.layer.join(ROOM, channel, since=self.since, history=history)
        if not joined.complete or len(joined.messages) != self.missed:
            raise RuntimeError(f"{len(joined.messages)} of {self.missed} messages came back")


if __name__ == "__main__":
    main(work)
