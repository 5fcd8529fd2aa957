"""A group as server-sent events: over a real server, with a client that breaks off and comes back."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from fast_channels.layers import (
    BaseChannelLayer,
    History,
    InMemoryChannelLayer,
    RedisPubSubChannelLayer,
)
from fast_channels.sse import group_events

from ..support.redis_servers import RedisServer
from ..support.uvicorn_server import serving

GROUP = "job.7"

Event = dict[str, str]


@pytest.fixture
def layer() -> InMemoryChannelLayer:
    return InMemoryChannelLayer(capacity=5, group_history={"*": History(100, 60)})


@pytest.fixture
async def url(layer: BaseChannelLayer) -> AsyncIterator[str]:
    app = FastAPI()

    @app.get("/events", response_class=EventSourceResponse)
    async def events(
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> AsyncIterator[ServerSentEvent]:
        async for event in group_events(layer, GROUP, last_event_id, history=3):
            yield event

    async with serving(app) as address:
        yield f"http://{address}/events"


async def say(layer: BaseChannelLayer, *numbers: int) -> None:
    for number in numbers:
        await layer.group_send(GROUP, {"type": "step", "number": number})


async def receive(url: str, count: int, last_event_id: str | None = None) -> list[Event]:
    """So many blocks of the stream, each as its fields; then the client breaks off."""
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    blocks: list[Event] = [{}]
    async with (
        asyncio.timeout(20),
        httpx.AsyncClient(timeout=20) as client,
        client.stream("GET", url, headers=headers) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        async for line in response.aiter_lines():
            if line:
                name, _, value = line.partition(":")
                blocks[-1][name] = value.strip()
            elif len(blocks) == count:
                break
            elif blocks[-1]:
                blocks.append({})
    return blocks


def numbers(blocks: list[Event]) -> list[Any]:
    return [json.loads(block["data"])["number"] for block in blocks]


async def test_a_client_that_comes_back_gets_what_it_missed(
    url: str, layer: InMemoryChannelLayer
) -> None:
    """The last ones at first; then, by the id of the last event, all that came after it."""
    await say(layer, *range(5))
    first = await receive(url, 3)
    assert numbers(first) == [2, 3, 4]
    assert json.loads(first[0]["data"]) == {"type": "step", "number": 2}
    await say(layer, *range(5, 9))
    again = await receive(url, 4, last_event_id=first[-1]["id"])
    assert numbers(again) == [5, 6, 7, 8]


async def test_a_group_that_is_silent_gives_an_id_all_the_same(
    url: str, layer: InMemoryChannelLayer
) -> None:
    """So that a client which breaks off before the first event misses nothing."""
    (joined,) = await receive(url, 1)
    await say(layer, 1)
    assert numbers(await receive(url, 1, last_event_id=joined["id"])) == [1]


async def test_a_client_is_told_what_cannot_be_proven(
    url: str, layer: InMemoryChannelLayer
) -> None:
    """By an event of its own name, without an id; the last messages follow it."""
    await say(layer, *range(5))
    blocks = await receive(url, 4, last_event_id="of.another")
    assert (blocks[0]["event"], "id" in blocks[0]) == ("incomplete", False)
    assert numbers(blocks[1:]) == [2, 3, 4]


async def test_a_layer_without_history_tells_who_comes_back(redis_server: RedisServer) -> None:
    """There is an id, although there are no positions: only a newcomer misses nothing."""
    async with RedisPubSubChannelLayer([redis_server.url]) as layer:
        first = group_events(layer, GROUP)
        joined = await anext(first)
        again = group_events(layer, GROUP, joined.id)
        assert (joined.event, (await anext(again)).event) == (None, "incomplete")
        for events in (first, again):
            await events.aclose()


async def test_a_stream_ends_when_it_is_told_so(layer: InMemoryChannelLayer) -> None:
    """While it waits for the next event, amid those that were missed, and if it was told so before."""
    loop = asyncio.get_running_loop()
    await say(layer, 1, 2, 3)
    for taken in (3, 1, 0):
        until: asyncio.Future[None] = loop.create_future()
        events = group_events(layer, GROUP, history=3, until=until)
        for _ in range(taken):
            await anext(events)
        loop.call_later(0.01, until.set_result, None)
        if taken < 3:
            await until
        assert [event async for event in events] == []
        assert not layer.local.members


async def test_a_client_that_is_too_slow_is_cut_off(layer: InMemoryChannelLayer) -> None:
    """What it got has no hole: it comes back for the rest."""
    events = group_events(layer, GROUP)
    first = await anext(events)
    assert first.id is not None
    await say(layer, *range(20))
    assert [event async for event in events] == []
    rest = group_events(layer, GROUP, first.id)
    assert [(await anext(rest)).data["number"] for _ in range(20)] == list(range(20))
    await rest.aclose()
    assert not layer.local.members
