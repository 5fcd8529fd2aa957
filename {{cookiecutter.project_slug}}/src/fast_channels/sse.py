"""A group as server-sent events, for pages and tools without a WebSocket. Needs FastAPI.

A browser's ``EventSource`` comes back by itself, with the id of the last event that it got in the header
``Last-Event-ID``: that id is the event's position, so it gets what it missed. Nothing else of the package
imports this module.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi.sse import ServerSentEvent

from .exceptions import Overflowed
from .layers.base import BaseChannelLayer
from .layers.history import POSITION
from .mailbox import Message
from .recovery import follow

INCOMPLETE = "incomplete"
NO_POSITION = "-"  # the id in a layer that has none, so that a client which comes back is told


def without_position(message: Message) -> Any:
    return {key: value for key, value in message.items() if key != POSITION}


async def group_events(
    layer: BaseChannelLayer,
    group: str,
    last_event_id: str | None = None,
    *,
    history: int = 0,
    data: Callable[[Message], Any] = without_position,
    until: "asyncio.Future[Any] | None" = None,
) -> AsyncIterator[ServerSentEvent]:
    """What an endpoint with ``response_class=EventSourceResponse`` yields.

    ``last_event_id`` is the request's header; ``history`` as in ``layer.join``. ``data`` makes the data of
    an event, which becomes JSON, from a message of the group. An event named ``incomplete``, without an
    id, says that messages may be missing. A client that reads too slowly is cut off, and comes back.
    ``until`` is a future, or a task, upon whose end the stream ends: ``identity.session_end`` makes one.
    ``ChannelLayerUnavailable`` before the first event, if the group cannot be joined.
    """
    async with follow(layer, group, since=last_event_id, history=history) as following:
        if until is not None:
            until.add_done_callback(following.stop)
            following.stopped = until.done()
        try:
            if not following.joined.complete:
                yield ServerSentEvent(event=INCOMPLETE, data={})
            for message in following.joined.messages:
                if following.stopped:
                    return
                yield ServerSentEvent(id=message[POSITION], data=data(message))
            if not following.joined.messages:
                yield ServerSentEvent(id=following.joined.position or NO_POSITION, comment="joined")
            async for message in following:
                if message["type"] == "layer.reconnected":
                    yield ServerSentEvent(event=INCOMPLETE, data={})
                else:
                    yield ServerSentEvent(id=message.get(POSITION), data=data(message))
        except Overflowed:
            return
        finally:
            if until is not None:
                until.remove_done_callback(following.stop)
