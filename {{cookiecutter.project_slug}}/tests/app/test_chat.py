"""Rooms: who is there and what is said, in memory and on real Redis."""

import time

import httpx
import pytest
from fastapi import FastAPI

from .visitors import PATIENCE, receive, visit

pytestmark = pytest.mark.parametrize("redis_url", ["memory", "redis"], indirect=True)


async def test_a_visitor_is_welcomed_and_announced_to_the_room(app: FastAPI, room: str) -> None:
    """The welcome comes first; then everyone in the room, also the visitor, hears the name."""
    async with visit(app, room, "Ada") as ada, visit(app, room, "Ben"):
        assert (await receive(ada, "joined"))["name"] == "Ben"


async def test_the_room_hears_who_left(app: FastAPI, room: str) -> None:
    async with visit(app, room, "Ada") as ada:
        async with visit(app, room, "Ben"):
            joined = await receive(ada, "joined")
        assert await receive(ada, "left") == {**joined, "type": "left"}


async def test_a_message_reaches_everyone_in_the_room(app: FastAPI, room: str) -> None:
    """Also its author, whose page shows it only then."""
    async with visit(app, room, "Ada") as ada, visit(app, room, "Ben") as ben:
        await ada.send_json_to({"type": "message", "text": "Hello Ben", "id": "m-1"})
        for visitor in (ada, ben):
            message = await receive(visitor, "message")
            assert time.time() - PATIENCE < message.pop("at") <= time.time()
            assert message.pop("client")
            said = {"name": "Ada", "text": "Hello Ben", "id": "m-1"}
            assert message == {"type": "message", "room": room, **said}


async def test_messages_arrive_once_and_in_order(app: FastAPI, room: str) -> None:
    texts = [f"Line {number}" for number in range(50)]
    async with visit(app, room, "Ada") as ada, visit(app, room, "Ben") as ben:
        for text in texts:
            await ada.send_json_to({"type": "message", "text": text})
        assert [(await receive(ben, "message"))["text"] for _ in texts] == texts
        assert await ben.receive_nothing()


async def test_rooms_are_separate(app: FastAPI, room: str) -> None:
    async with visit(app, room, "Ada") as ada, visit(app, f"{room}-2", "Ben") as ben:
        await ben.send_json_to({"type": "message", "text": "Next door"})
        await receive(ben, "message")
        assert await ada.receive_nothing()


async def test_text_arrives_as_it_was_written(app: FastAPI, room: str) -> None:
    """Nothing is escaped or lost on the way; spaces around it are cut off."""
    text = '<b>"Grüße"</b>\n{"a": 1} 漢字 🎈'
    async with visit(app, room, "Zoë 🎈") as visitor:
        await visitor.send_json_to({"type": "message", "text": f"  {text} "})
        message = await receive(visitor, "message")
        assert (message["name"], message["text"]) == ("Zoë 🎈", text)


async def test_what_http_publishes_reaches_the_sockets_of_the_room(
    app: FastAPI, client: httpx.AsyncClient, room: str
) -> None:
    async with visit(app, room, "Ada") as ada:
        said = {"name": "Robot", "text": "From outside"}
        response = await client.post(f"/rooms/{room}/messages", json=said)
        assert response.status_code == 202
        message = await receive(ada, "message")
        assert message.pop("at") <= time.time()
        assert message == {"type": "message", "room": room, "client": None, "id": None, **said}


async def test_who_spoke_is_told_by_an_id_that_only_the_server_gives(
    app: FastAPI, client: httpx.AsyncClient, room: str
) -> None:
    """The same name on another socket, or over HTTP, is another one, whatever a frame claims."""
    async with visit(app, room, "Ada") as ada, visit(app, room, "Ada") as other:
        await ada.send_json_to({"type": "message", "text": "One"})
        own = (await receive(other, "message"))["client"]
        forged = {"type": "message", "text": "Two", "client": own, "name": "Ada", "at": 0}
        await other.send_json_to(forged)
        await receive(ada, "message")
        message = await receive(ada, "message")
        assert (message["name"], message["text"]) == ("Ada", "Two")
        assert message["client"] not in (own, None)
        assert message["at"] > 0
        said = {"name": "Ada", "text": "Three", "client": own, "id": "m-1"}
        await client.post(f"/rooms/{room}/messages", json=said)
        message = await receive(ada, "message")
        assert (message["client"], message["id"]) == (None, None)


async def test_an_error_carries_the_id_of_the_frame_that_it_answers(
    app: FastAPI, room: str
) -> None:
    async with visit(app, room, "Ada") as ada:
        for text in (" ", 5, None):
            await ada.send_json_to({"type": "message", "text": text, "id": "m-2"})
            assert (await receive(ada, "error"))["id"] == "m-2"
        await ada.send_json_to({"type": "message", "text": "Good", "id": "no id"})
        error = await receive(ada, "error")
        assert error["id"] is None
        assert error["detail"].startswith("id: ")


async def test_the_app_is_live_and_ready(client: httpx.AsyncClient) -> None:
    for path in ("/health/live", "/health/ready"):
        response = await client.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})
