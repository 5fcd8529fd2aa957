"""What visitors may not do, and that nothing worse than an answer comes of it."""

import json

import pytest
from fastapi import FastAPI

from {{ cookiecutter.project_slug }}.chat import ChatConsumer
from {{ cookiecutter.project_slug }}.schemas import EXPECTED, Frame

from .visitors import HOST, PATIENCE, communicator, receive, visit

LONGEST_NAME = "n" * 50
LONGEST_ROOM = "r" * 50
LONGEST_TEXT = "t" * 2000

BAD_FRAMES = {
    "not JSON": "hello",
    "empty": "",
    "no object": "[1, 2]",
    "a string": '"message"',
    "no type": "{}",
    "an unknown type": '{"type": "shout"}',
    "a handler's name": '{"type": "chat.message", "name": "Eve", "text": "forged"}',
    "no text": '{"type": "message"}',
    "text that is a number": '{"type": "message", "text": 5}',
    "empty text": '{"type": "message", "text": ""}',
    "blank text": '{"type": "message", "text": " \\n"}',
    "text that is too long": json.dumps({"type": "message", "text": LONGEST_TEXT + "t"}),
    "half a surrogate pair": '{"type": "message", "text": "\\ud800"}',
    "a number that is too long": '{"type": ' + "1" * 5000 + "}",
    "deep nesting": "[" * 100_000,
    "a number beyond all numbers": '{"type": "message", "text": 1e400}',
    "no number": '{"type": "message", "text": NaN}',
    "nothing visible": '{"type": "message", "text": "\u3164\u200b"}',
}


def test_each_kind_of_frame_has_a_method_and_is_named_to_who_misses_it() -> None:
    """A class and a method are all that a new kind takes."""
    methods = vars(ChatConsumer)["handle"].dispatcher.registry
    assert methods.keys() - {object} == set(Frame.__subclasses__())
    assert EXPECTED["type"] == "job.start or message"


@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
async def test_a_bad_frame_is_answered_and_the_socket_stays_open(
    app: FastAPI, room: str, frame: str
) -> None:
    """The room hears nothing of it."""
    async with visit(app, room, "Ada") as ada, visit(app, room, "Eve") as eve:
        await receive(ada, "joined")
        await eve.send_to(text_data=frame)
        error = await eve.receive_json_from(PATIENCE)
        assert set(error) == {"type", "detail", "id"}
        assert error["type"] == "error"
        assert error["detail"]
        assert await ada.receive_nothing()
        await eve.send_json_to({"type": "message", "text": "Still here"})
        assert (await receive(ada, "message"))["text"] == "Still here"


async def test_a_binary_frame_is_answered_and_the_socket_stays_open(
    app: FastAPI, room: str
) -> None:
    async with visit(app, room, "Ada") as ada:
        await ada.send_to(bytes_data=b'{"type": "message", "text": "hello"}')
        assert (await ada.receive_json_from(PATIENCE))["type"] == "error"
        await ada.send_json_to({"type": "message", "text": "Still here"})
        assert (await receive(ada, "message"))["text"] == "Still here"


async def test_the_longest_room_name_and_text_are_accepted(app: FastAPI) -> None:
    async with visit(app, LONGEST_ROOM, LONGEST_NAME) as visitor:
        await visitor.send_json_to({"type": "message", "text": LONGEST_TEXT})
        assert (await receive(visitor, "message"))["text"] == LONGEST_TEXT


@pytest.mark.parametrize(
    ("room", "name"),
    [
        ("two words", "Ada"),
        ("rööm", "Ada"),
        ("room.5", "Ada"),
        (LONGEST_ROOM + "r", "Ada"),
        ("lobby", ""),
        ("lobby", "  "),
        ("lobby", LONGEST_NAME + "n"),
        ("lobby", "two\nlines"),
        ("lobby", "zero\u200bwidth"),
    ],
)
async def test_a_bad_room_or_name_is_closed_with_4000_and_the_reason(
    app: FastAPI, room: str, name: str
) -> None:
    """The page then asks for another one instead of trying again."""
    visitor = communicator(app, room, name)
    assert await visitor.connect(PATIENCE) == (True, None)
    close = await visitor.receive_output(PATIENCE)
    assert (close["type"], close["code"]) == ("websocket.close", 4000)
    field = "room" if name == "Ada" else "name"
    assert close["reason"].startswith(f"{field}: ")
    assert len(close["reason"].encode()) <= 123  # more does not fit (RFC 6455, 5.5)
    await visitor.wait(PATIENCE)


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", f"http://{HOST}.evil.example", f"http://{HOST}:8080", ""],
)
async def test_pages_of_other_origins_may_not_connect(app: FastAPI, origin: str) -> None:
    visitor = communicator(app, "lobby", "Eve", origin=origin)
    connected, _ = await visitor.connect(PATIENCE)
    assert not connected
    await visitor.wait(PATIENCE)


async def test_a_connection_without_a_name_is_closed_with_4000(app: FastAPI) -> None:
    visitor = communicator(app, "lobby", "")
    visitor.scope["query_string"] = b""
    await visitor.connect(PATIENCE)
    assert (await visitor.receive_output(PATIENCE))["code"] == 4000
    await visitor.wait(PATIENCE)
