"""Child: sockets of one consumer, typed or plain, that answer frames or pass on those of their group.

Consumers and sockets are those of the runtime's own test of what frames cost.
"""

import sys
from typing import Any

from fast_channels.layers import register_channel_layer

from ..child import Clock, Options, listen, main, say
from ..store import TEMPLATE
from .layers import make_layer

sys.path.append(str(TEMPLATE / "tests/fast_channels/support"))

from frame_cost import Plain, Sockets, Typed

WINDOW = 20  # frames between two looks at the clock


async def work(options: Options) -> None:
    layer: Any = make_layer(options["subject"], options["kind"], options["url"])
    register_channel_layer("default", layer)
    members = options["members"]
    async with Sockets(Typed if options["typed"] else Plain, members or 1) as sockets:
        exchange = sockets.tell if members else sockets.ask
        await exchange(WINDOW)
        say(ready=True)
        listen()
        operations = 0
        clock = Clock()
        while not operations or clock.wall < options["seconds"]:
            await exchange(WINDOW)
            operations += WINDOW
        say(operations=operations, **clock.stop())


if __name__ == "__main__":
    main(work)
