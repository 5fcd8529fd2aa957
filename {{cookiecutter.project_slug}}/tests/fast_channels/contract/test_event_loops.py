"""One layer object in several event loops (threads)."""

import asyncio
import threading
from typing import Any

from ..support.backends import Backend
from ..support.expect import messages


async def test_two_loops_in_two_threads(backend: Backend) -> None:
    """Two loops share a layer: what is sent in one is received in the other, both ways."""
    layer = backend.make()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def elsewhere(coroutine: Any) -> Any:
        """Run it in the other thread's loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))

    try:
        here, there = await layer.new_channel(), await elsewhere(layer.new_channel())
        await layer.group_add("room", here)
        await elsewhere(layer.group_add("room", there))
        waiting = asyncio.create_task(elsewhere(messages(layer, there, 2)))
        await layer.send(there, {"to": "there"})
        await elsewhere(layer.send(here, {"to": "here"}))
        assert await messages(layer, here) == [{"to": "here"}]
        await layer.group_send("room", {"to": "all"})
        assert await messages(layer, here) == [{"to": "all"}]
        assert await waiting == [{"to": "there"}, {"to": "all"}]
    finally:
        await elsewhere(layer.aclose())
        await layer.aclose()
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join)
        loop.close()
