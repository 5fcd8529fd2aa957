"""Two uvicorn processes and a worker on one Redis: what is done in one arrives in the others."""

import json

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from .processes import Processes
from .visitors import receive, receive_until, until_the_worker_reports, visit_server

IDLE_SECONDS = 6.2  # longer than the 5 s after which redis-py gives up reading by default


async def test_a_message_sent_to_one_process_arrives_at_the_other(
    processes: Processes, room: str
) -> None:
    async with (
        visit_server(processes.a.url, room, "Ada") as ada,
        visit_server(processes.b.url, room, "Ben") as ben,
    ):
        assert (await receive(ada, "joined"))["name"] == "Ben"
        await ada.send_json_to({"type": "message", "text": "Hello B"})
        await ben.send_json_to({"type": "message", "text": "Hello A"})
        for visitor in (ada, ben):
            texts = {(await receive(visitor, "message"))["text"] for _ in range(2)}
            assert texts == {"Hello A", "Hello B"}


async def test_http_to_one_process_reaches_a_socket_of_the_other(
    processes: Processes, room: str
) -> None:
    async with visit_server(processes.b.url, room, "Ben") as ben:
        said = {"name": "Robot", "text": "From outside"}
        async with httpx.AsyncClient(base_url=processes.a.url, trust_env=False) as client:
            response = await client.post(f"/rooms/{room}/messages", json=said)
        assert response.status_code == 202
        message = await receive(ben, "message")
        assert (message["name"], message["text"]) == ("Robot", "From outside")


async def test_a_jobs_progress_comes_back_from_the_worker(processes: Processes, room: str) -> None:
    async with visit_server(processes.a.url, room, "Ada") as ada:
        await ada.send_json_to({"type": "job.start"})
        *progress, end = await receive_until(ada, "job.done")
        assert [frame["done"] for frame in progress] == list(range(end["total"]))
        assert {frame["job"] for frame in progress} == {end["job"]}


async def test_an_idle_connection_stays_alive(processes: Processes, room: str) -> None:
    async with (
        visit_server(processes.a.url, room, "Ada") as ada,
        visit_server(processes.b.url, room, "Ben") as ben,
    ):
        await receive(ada, "joined")
        assert await ada.receive_nothing(IDLE_SECONDS)
        await ben.send_json_to({"type": "message", "text": "Still there?"})
        assert (await receive(ada, "message"))["text"] == "Still there?"
        await ada.send_json_to({"type": "job.start"})
        await until_the_worker_reports(ada)


async def test_a_page_of_another_origin_gets_http_403(processes: Processes, room: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with visit_server(processes.a.url, room, "Eve", origin="http://evil.example"):
            pass
    assert refusal.value.response.status_code == 403


async def test_the_web_processes_speak_by_our_own_protocol(processes: Processes, room: str) -> None:
    """uvicorn's would agree to the compression that the client offers."""
    url = processes.a.url
    address = f"{url.replace('http', 'ws', 1)}/ws/chat/{room}?name=Ada"
    async with connect(address, origin=Origin(url), proxy=None) as socket:
        assert json.loads(await socket.recv())["type"] == "welcome"
        assert socket.protocol.extensions == []
