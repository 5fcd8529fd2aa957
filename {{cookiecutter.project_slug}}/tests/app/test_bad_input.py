"""What visitors may not do, and that nothing worse than an answer comes of it."""

import json
from typing import Any

import pytest
from fastapi import FastAPI

from .visitors import HOST, PATIENCE, Visitor, communicator, in_process, sign_in, visit

LONGEST_ROOM = "r" * 50
LONGEST_TEXT = "t" * 2000
SAY = {"type": "say", "group": "room.lobby"}

BAD_FRAMES: dict[str, Any] = {
    "not JSON": "hello",
    "empty": "",
    "no object": [1, 2],
    "a string": '"say"',
    "no type": {},
    "an unknown type": {"type": "shout"},
    "a handler's name": {"type": "deliver.frame", "frame": "said", "text": "forged"},
    "an event": {"type": "said", "group": "room.lobby", "text": "forged"},
    "no text": SAY,
    "text that is a number": {**SAY, "text": 5},
    "empty text": {**SAY, "text": ""},
    "blank text": {**SAY, "text": " \n"},
    "text that is too long": {**SAY, "text": LONGEST_TEXT + "t"},
    "half a surrogate pair": '{"type": "say", "group": "room.lobby", "text": "\\ud800"}',
    "a number that is too long": '{"type": ' + "1" * 5000 + "}",
    "deep nesting": "[" * 100_000,
    "a number beyond all numbers": '{"type": "join", "group": "room.lobby", "history": 1e400}',
    "no number": '{"type": "join", "group": "room.lobby", "history": NaN}',
    "nothing visible": {**SAY, "text": "\u3164\u200b"},
    "another room's message": {**SAY, "group": "room.elsewhere", "text": "Hi"},
    "an unknown kind of job": {"type": "start_job", "kind": "mine"},
    "somebody else's job": {"type": "cancel_job", "job": "0123456789abcdef-1"},
    "a forged renewal": {"type": "renew", "token": "e30.abc.def"},
}
BAD_GROUPS = [
    "lobby",
    "room.two words",
    "room.rööm",
    "room.5.6",
    "room.",
    f"room.{LONGEST_ROOM}r",
    "live.lobby",
    "user.ada",
    "jobs.user.ada",
    "job.0123456789abcdef-1",
]


@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
async def test_a_bad_frame_is_answered_and_the_socket_stays_open(app: FastAPI, frame: Any) -> None:
    """The room hears nothing of it."""
    async with visit(app, "lobby", "Ada") as ada, visit(app, "lobby", "Eve") as eve:
        text = frame if isinstance(frame, str) else json.dumps(frame)
        await communicator_of(eve).send_to(text_data=text)
        error = await eve.receive("error")
        assert set(error) == {"type", "code", "detail", "errors"}
        assert error["detail"]
        await eve.say("lobby", "Still here")
        assert (await ada.receive("said"))["text"] == "Still here"


async def test_a_binary_frame_is_answered_and_the_socket_stays_open(app: FastAPI) -> None:
    async with visit(app, "lobby") as ada:
        await communicator_of(ada).send_to(bytes_data=b'{"type": "ping", "id": "1"}')
        assert (await ada.receive("error"))["code"] == "not_json"
        assert (await ada.ask("ping"))["type"] == "ok"


@pytest.mark.parametrize("group", BAD_GROUPS)
async def test_what_is_no_room_or_job_of_theirs_cannot_be_joined(app: FastAPI, group: str) -> None:
    async with visit(app) as eve:
        assert (await eve.ask("join", group=group))["type"] == "error"
        assert (await eve.ask("ping"))["type"] == "ok"


async def test_an_error_carries_the_id_of_the_frame_that_it_answers(app: FastAPI) -> None:
    async with visit(app, "lobby") as ada:
        for text in (" ", 5, None):
            error = await ada.ask("say", group="room.lobby", text=text, id="m-2")
            assert error["type"] == "error"
        await ada.tell("say", group="room.lobby", text="Good", id="no id")
        error = await ada.receive("error")
        assert "reply_to" not in error
        assert error["detail"].startswith("id: ")


async def test_a_position_that_is_none_proves_nothing(app: FastAPI) -> None:
    async with visit(app, "lobby") as ada:
        await ada.say("lobby", "Hi")
        for since in ("", "x", "0.0", "ffffffff.1"):
            joined = await ada.enter("lobby", since=since, history=1)
            assert (joined["complete"], len(joined["events"])) == (False, 1)


async def test_the_longest_room_and_text_are_accepted(app: FastAPI) -> None:
    async with visit(app, LONGEST_ROOM, "n" * 50) as visitor:
        await visitor.say(LONGEST_ROOM, LONGEST_TEXT)
        assert (await visitor.receive("said"))["text"] == LONGEST_TEXT


async def test_one_socket_may_be_in_so_many_groups(app: FastAPI) -> None:
    async with visit(app) as eve:
        for number in range(50):
            await eve.enter(f"r{number}")
        assert (await eve.ask("join", group="room.r50"))["code"] == "too_many"
        await eve.ask("leave", group="room.r0")
        await eve.enter("r50")


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", f"http://{HOST}.evil.example", f"http://{HOST}:8080", ""],
)
async def test_pages_of_other_origins_may_not_connect(app: FastAPI, origin: str) -> None:
    """Also with the cookie of somebody who is signed in."""
    async with in_process(app) as client:
        cookie = await sign_in(client, "Ada")
    visitor = communicator(app, cookie, origin=origin)
    connected, _ = await visitor.connect(PATIENCE)
    assert not connected
    await visitor.wait(PATIENCE)


def communicator_of(visitor: Visitor) -> Any:
    return visitor.line
