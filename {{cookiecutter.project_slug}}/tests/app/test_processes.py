"""Two uvicorn processes and a worker on one Redis: what is done in one arrives in the others."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from websockets.exceptions import InvalidStatus

from .processes import Processes
from .visitors import (
    PATIENCE,
    Frame,
    RemoteLine,
    Visitor,
    close_code,
    http_to,
    sign_in,
    visit_server,
)

IDLE_SECONDS = 6.2  # longer than the 5 s after which redis-py gives up reading by default


async def test_a_message_sent_to_one_process_arrives_at_the_other(
    processes: Processes, room: str
) -> None:
    async with (
        visit_server(processes.a.url, room, "Ada") as ada,
        visit_server(processes.b.url, room, "Ben") as ben,
    ):
        assert (await ada.receive("presence"))["joined"] == [{**ben.user, "connections": 1}]
        await ada.say(room, "Hello B")
        await ben.say(room, "Hello A")
        for visitor in (ada, ben):
            texts = {(await visitor.receive("said"))["text"] for _ in range(2)}
            assert texts == {"Hello A", "Hello B"}


async def test_a_session_is_good_in_each_process(processes: Processes, room: str) -> None:
    """Signed in at one, publishing at it into a socket of the other, signed out from there, too."""
    async with http_to(processes.a.url) as client:
        cookie = await sign_in(client, "Ada")
        async with visit_server(processes.b.url, room, cookie=cookie) as ada:
            response = await client.post(f"/rooms/{room}/messages", json={"text": "From outside"})
            assert response.status_code == 202
            message = await ada.receive("said")
            assert (message["user"], message["text"]) == (ada.user, "From outside")
            assert (await client.delete("/session?everywhere=true")).status_code == 204
            assert await close_code(ada) == 4403


async def test_a_job_is_told_by_the_worker(processes: Processes) -> None:
    async with visit_server(processes.a.url) as ada:
        await ada.start("steps")
        *steps, end = await ada.receive_until("job_ended")
        assert [step["done"] for step in steps][-1] == steps[-1]["total"]
        assert end["state"] == "done"


async def test_an_idle_connection_stays_alive(processes: Processes, room: str) -> None:
    async with (
        visit_server(processes.a.url, room, "Ada") as ada,
        visit_server(processes.b.url, room, "Ben") as ben,
    ):
        assert await ada.is_told_no("said", IDLE_SECONDS)
        await ben.say(room, "Still there?")
        assert (await ada.receive("said"))["text"] == "Still there?"
        await ada.start("answer")
        await ada.receive("job_output")


async def test_a_rooms_events_come_without_a_socket(processes: Processes, room: str) -> None:
    """As server-sent events; EventSource comes back with the id of the last one, which is its position."""
    async with (
        visit_server(processes.a.url, room, "Ada") as ada,
        http_to(processes.b.url) as client,
    ):
        path = f"/rooms/{room}/events"
        assert (await client.get(path)).status_code == 401
        await sign_in(client, "Ben")
        async with client.stream("GET", path) as response:
            lines = response.aiter_lines()
            if "position" in (await said(ada, room, "One")):
                assert await next_event(lines) == "One"
            else:  # nothing tells that a stream of pub/sub has begun
                return
            await said(ada, room, "Two")
            assert await next_event(lines) == "Two"
        await said(ada, room, "Three")
        position = (await said(ada, room, "Four"))["position"]
        await said(ada, room, "Five")
        async with client.stream("GET", path, headers={"last-event-id": position}) as response:
            assert await next_event(response.aiter_lines()) == "Five"


async def test_a_stream_of_events_ends_when_its_user_signs_out(
    processes: Processes, room: str
) -> None:
    """On the other process, as a socket does; another user's goes on."""
    a, b = processes.a.url, processes.b.url
    async with visit_server(a, room, "Ben") as ben, http_to(b) as here, http_to(a) as elsewhere:
        cookie = await sign_in(here, "Ada")
        path = f"/rooms/{room}/events"
        async with (
            here.stream("GET", path) as ending,
            here.stream("GET", path, headers={"cookie": ben.cookie}) as lasting,
        ):
            lines = ending.aiter_lines(), lasting.aiter_lines()
            await asyncio.gather(*map(anext, lines))
            assert (await elsewhere.delete("/session", headers={"cookie": cookie})).is_success
            async with asyncio.timeout(PATIENCE):
                assert [line async for line in lines[0] if line.startswith("data: ")] == []
            await ben.say(room, "Still here")
            assert await next_event(lines[1]) == "Still here"


async def said(visitor: Visitor, room: str, text: str) -> Frame:
    await visitor.say(room, text)
    return await visitor.receive("said")


async def next_event(lines: AsyncIterator[str]) -> str:
    """The text of the next message in the stream."""
    async with asyncio.timeout(PATIENCE):
        async for line in lines:
            if line.startswith("data: ") and (frame := json.loads(line[6:])):
                text: str = frame["text"]
                return text
    raise AssertionError("The stream has ended")


async def test_a_page_of_another_origin_gets_http_403(processes: Processes) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with visit_server(processes.a.url, origin="http://evil.example"):
            pass
    assert refusal.value.response.status_code == 403


async def test_the_web_processes_speak_by_our_own_protocol(processes: Processes) -> None:
    """uvicorn's would agree to the compression that the client offers."""
    async with visit_server(processes.a.url) as ada:
        assert isinstance(ada.line, RemoteLine)
        assert ada.line.socket.protocol.extensions == []
