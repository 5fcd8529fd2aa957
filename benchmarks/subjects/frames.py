"""Child: sockets of one consumer, typed or plain, that answer frames or pass on those of their group.

Consumers and sockets are those of the runtime's own test of what frames cost: that one file, by its path.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

from fast_channels.layers import register_channel_layer

from ..child import Clock, Options, listen, main, say
from ..imports import TEMPLATE
from .layers import make_layer

FRAME_COST = TEMPLATE / "tests" / "fast_channels" / "support" / "frame_cost.py"
WINDOW = 20  # frames between two looks at the clock


def frame_cost() -> Any:
    spec = spec_from_file_location("frame_cost", FRAME_COST)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["frame_cost"] = module_from_spec(spec)  # where Pydantic looks names up
    spec.loader.exec_module(module)
    return module


async def work(options: Options) -> None:
    layer: Any = make_layer(options["subject"], options["kind"], options["url"])
    register_channel_layer("default", layer)
    members, cost = options["members"], frame_cost()
    consumer = cost.Typed if options["typed"] else cost.Plain
    async with cost.Sockets(consumer, members or 1) as sockets:
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
