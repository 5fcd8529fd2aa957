"""Typed frames on a socket: handlers by model, replies by id, errors that repeat nothing."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from hypothesis import given, strategies as st
from pydantic import BaseModel, Field, TypeAdapter
from websockets.asyncio.client import connect

from fast_channels.consumer import json_text
from fast_channels.exceptions import UnhandledMessage
from fast_channels.frames import (
    AsyncAPI,
    FrameConsumer,
    Refused,
    describe,
    frame_message,
    handles,
    typescript,
    with_fields,
)
from fast_channels.frames.consumer import wrong_frames
from fast_channels.frames.problems import MOST_COUNTED, MOST_LISTED
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.testing import WebsocketCommunicator

from ..support import frame_cost
from ..support.properties import CHARACTERS, sequences
from ..support.sample_frames import Chat, Message, Move, Moved, Said, Typing, Unknown
from ..support.uvicorn_server import serving

SECRET = "hunter2hunter2"


@pytest.fixture
async def client(memory_layer: InMemoryChannelLayer) -> AsyncIterator[WebsocketCommunicator]:
    async with WebsocketCommunicator(Chat, "/") as connected:
        yield connected


async def answer_to(client: WebsocketCommunicator, frame: Any) -> Any:
    """The next frame after one that is sent: JSON, or text or bytes as they are."""
    if isinstance(frame, bytes):
        await client.send_to(bytes_data=frame)
    else:
        await client.send_to(frame if isinstance(frame, str) else json.dumps(frame))
    return await client.receive_json_from()


# Frames and their answers


async def test_a_handlers_model_is_the_reply(client: WebsocketCommunicator) -> None:
    """It carries the id of the frame as reply_to; a frame without an id gets it without."""
    frame = {"type": "move.left", "how far": 3}
    moved = {"type": "moved", "to": -3}
    assert await answer_to(client, frame | {"id": "a-1"}) == moved | {"reply_to": "a-1"}
    assert await answer_to(client, frame) == moved
    assert await answer_to(client, frame | {"id": None}) == moved


async def test_none_is_answered_with_ok(client: WebsocketCommunicator) -> None:
    """Where there is an id to answer: each frame with an id is answered once."""
    frame = {"type": "fail", "how": "nothing"}
    await client.send_json_to(frame)
    assert await answer_to(client, frame | {"id": "x"}) == {"type": "ok", "reply_to": "x"}


async def test_a_group_gets_frames_without_an_answers_field(client: WebsocketCommunicator) -> None:
    """So nothing that another client had sent to the group can pass for the reply to a question."""
    said = {"type": "said", "text": "hi", "place": None}
    assert await answer_to(client, {"type": "message", "id": "m", "text": "hi"}) in (
        said,
        {"type": "ok", "reply_to": "m"},
    )
    assert await client.receive_json_from() in (said, {"type": "ok", "reply_to": "m"})


async def test_a_frame_is_validated_as_json(client: WebsocketCommunicator) -> None:
    """Types that JSON lacks come as text; what is sent is by alias and by Pydantic's JSON."""
    at = "2030-01-02T03:04:05Z"
    typing = {"type": "typing", "since": at, "price": "1.50", "id": "t"}
    assert await answer_to(client, typing) == typing
    assert await client.receive_json_from() == {"type": "ok", "reply_to": "t"}


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("full", "busy"),
        ("cut", "unavailable"),
        ("large", "too_large"),
        ("refuse", "not_today"),
    ],
)
async def test_a_refusal_is_an_error_with_the_id(
    client: WebsocketCommunicator, how: str, code: str
) -> None:
    """That of a handler, and that of the layer which a handler did not catch."""
    error = await answer_to(client, {"type": "fail", "id": "f", "how": how})
    assert (error.pop("type"), error.pop("reply_to"), error.pop("code")) == ("error", "f", code)
    assert error.pop("detail").endswith(".")
    assert error == {"errors": []}
    assert (await answer_to(client, {"type": "fail", "how": "go on"}))["text"] == "go on"


WRONG = [
    ("{", "not_json", []),
    ("", "not_json", []),
    (b"{}", "not_json", []),
    ('{"type": "message", "text": NaN}', "not_json", []),
    ('{"type": "message", "text": "a", "anything": [-Infinity]}', "not_json", []),
    ("[" * 20_000, "not_json", []),
    ('{"type": "message", "text": "\\ud800"}', "not_json", []),
    ('{"type": "message", "text": "a", "anything": ' + "9" * 5000 + "}", "not_json", []),
    ([], "invalid", []),
    (None, "invalid", []),
    ({}, "invalid", [["type"]]),
    ({"text": "no type"}, "invalid", [["type"]]),
    ({"type": SECRET}, "invalid", [["type"]]),
    ({"type": ["message"]}, "invalid", [["type"]]),
    ({"type": "message"}, "invalid", [["text"]]),
    ({"type": "message", "text": "", "mood": SECRET}, "invalid", [["text"], ["mood"]]),
    (
        {"type": "message", "text": "a", "place": {"at": [1, SECRET]}},
        "invalid",
        [["place", "at", 1]],
    ),
    ({"type": "message", "text": "a", "pet": {"kind": "dog"}}, "invalid", [["pet", "dog", "name"]]),
    ({"type": "message", "text": "a", "pet": {"kind": SECRET}}, "invalid", [["pet"]]),
    ({"type": "message", "text": "a", "marks": {SECRET: SECRET}}, "invalid", [["marks", "*"]]),
    ({"type": "message", "text": "damn " + SECRET}, "invalid", [["text"]]),
    ({"type": "move.left", SECRET: 1}, "invalid", [["*"]]),
    ({"type": "move.left", "how far": 11}, "invalid", [["how far"]]),
    ({"type": "typing", "since": SECRET}, "invalid", [["since"]]),
    ({"type": "message", "text": "a", "id": SECRET + "!"}, "invalid", [["id"]]),
    ({"type": "message", "text": "a", "id": "x" * 65}, "invalid", [["id"]]),
    ({"type": "message", "text": "a", "id": 5}, "invalid", [["id"]]),
]


@pytest.mark.parametrize(("frame", "code", "places"), WRONG, ids="{!r:.60}".format)
async def test_a_wrong_frame_is_one_error(
    client: WebsocketCommunicator, frame: Any, code: str, places: list[Any]
) -> None:
    """With the places that are wrong and nothing of what came; the socket stays open."""
    error = await answer_to(client, frame)
    assert (error["type"], error["code"]) == ("error", code)
    assert [one["loc"] for one in error["errors"]] == places
    assert SECRET not in json.dumps(error)
    assert "reply_to" not in error
    assert await answer_to(client, {"type": "move.left", "id": "1"}) == {
        "type": "moved",
        "to": -1,
        "reply_to": "1",
    }


async def test_a_wrong_frame_is_answered_by_its_id(client: WebsocketCommunicator) -> None:
    """However wrong the rest of it is, as long as it is JSON with a good id."""
    for frame in ({"type": "message"}, {"type": 5}, {}, {"type": "move.left", "no": 1}):
        assert (await answer_to(client, frame | {"id": "w_1"}))["reply_to"] == "w_1"


async def test_an_error_says_what_was_expected(client: WebsocketCommunicator) -> None:
    """One sentence for a person, and for a program what Pydantic calls it; no words of a parser."""
    error = await answer_to(client, {"type": "message", "text": "damn"})
    assert error["detail"] == "text: must be polite"
    assert error["errors"] == [{"loc": ["text"], "msg": "must be polite", "type": "value_error"}]
    error = await answer_to(client, {"type": "huh"})
    assert error["detail"] == ("type: must be one of message, move.left, move.right, fail, typing")
    error = await answer_to(client, {"type": "typing", "since": "x"})
    assert error["detail"] == "since: Input should be a valid datetime or date"


async def test_few_problems_are_listed(client: WebsocketCommunicator) -> None:
    """The first of some; none of very many, which would take longer to collect than to find."""
    frame = {"type": "message", "text": "a", "words": [1] * (MOST_COUNTED - 1)}
    assert len((await answer_to(client, frame))["errors"]) == MOST_LISTED
    frame["words"] = [1] * (MOST_COUNTED + 1)
    error = await answer_to(client, frame)
    assert (error["code"], error["errors"]) == ("invalid", [])
    assert error["detail"] == f"There are more than {MOST_COUNTED} errors in the frame."


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(CHARACTERS),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(CHARACTERS), inner, max_size=4)
    ),
    max_leaves=8,
)
FIELDS = [
    "type",
    "id",
    "text",
    "place",
    "marks",
    "mood",
    "anything",
    "how far",
    "how",
    "since",
    "pet",
]
TYPES = ["message", "move.left", "fail", "typing", "error", "ok"]
ALMOST = st.dictionaries(
    st.sampled_from(FIELDS) | st.text(CHARACTERS), JSON_VALUES | st.sampled_from(TYPES), max_size=6
)
RUBBISH = (
    st.text(st.characters(codec=None, exclude_categories=()))
    | st.binary()
    | JSON_VALUES.map(json.dumps)
    | ALMOST.map(json.dumps)
)


class Deaf(Chat):
    """Without a layer, which a frame that is good by chance would need."""

    groups = ()
    incoming = Move | Typing
    say = fail = None  # type: ignore[assignment]


@sequences(200, 1)
@given(frames=st.lists(RUBBISH, min_size=1, max_size=10))
def test_whatever_comes_the_socket_stays_open(frames: list[str | bytes]) -> None:
    """Each text and each run of bytes that is no frame is answered with one error, and no more."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger("fast_channels").addHandler(handler)
    try:
        asyncio.run(send_rubbish(frames))
    finally:
        logging.getLogger("fast_channels").removeHandler(handler)
    assert [one for one in records if one.levelno > logging.WARNING or one.exc_info] == []


async def send_rubbish(frames: list[str | bytes]) -> None:
    async with WebsocketCommunicator(Deaf, "/") as client:
        for frame in frames:
            assert await errors_to(client, frame) == ([] if is_frame(frame) else ["error"]), frame


def is_frame(frame: str | bytes) -> bool:
    """What Pydantic's own union says of it."""
    try:
        assert isinstance(frame, str)
        json_text.decode(frame)
        DEAF.validate_json(frame)
    except (AssertionError, ValueError):
        return False
    return True


DEAF: TypeAdapter[Any] = TypeAdapter(Annotated[Move | Typing, Field(discriminator="type")])


async def errors_to(client: WebsocketCommunicator, frame: str | bytes) -> list[str]:
    """The errors that answer it, before the answer to a frame that is sent behind it."""
    key = "bytes" if isinstance(frame, bytes) else "text"
    await client.send_input({"type": "websocket.receive", key: frame})
    await client.send_json_to({"type": "move.left", "id": "behind-it"})
    found = []
    while (answer := await client.receive_json_from()).get("reply_to") != "behind-it":
        found.append(answer["type"])
    return [one for one in found if one == "error"]


async def test_a_socket_that_takes_nothing(memory_layer: InMemoryChannelLayer) -> None:
    """A consumer that only sends answers each frame with an error, too."""

    class Speaker(FrameConsumer):
        outgoing = Said

        async def connect(self) -> None:
            await self.accept()
            await self.send_frame(Said(text="hi"))

    async with WebsocketCommunicator(Speaker, "/") as client:
        assert (await client.receive_json_from())["text"] == "hi"
        error = await answer_to(client, {"type": "say", "id": "1"})
        assert (error["code"], error["reply_to"]) == ("invalid", "1")
        assert error["detail"] == "This socket takes no frames."
        assert (await answer_to(client, b"{"))["code"] == "not_json"
    assert "sends: never;" in typescript(Speaker)
    assert "Speaker.send" in AsyncAPI("a", "1", {"/": Speaker}).document["operations"]


async def test_a_handler_may_close(memory_layer: InMemoryChannelLayer) -> None:
    """Its reply is not sent any more, nor is what comes after it handled."""

    class Leaving(Chat):
        groups = ()

        @handles
        async def move(self, frame: Move) -> Moved:
            await self.close(4001)
            return Moved(to=frame.steps)

    client = WebsocketCommunicator(Leaving, "/")
    await client.connect()
    await client.send_json_to({"type": "move.left", "id": "1"})
    await client.send_json_to({"type": "no"})
    assert await client.receive_output() == {"type": "websocket.close", "code": 4001}
    await client.wait()


# What the log and the operator see


async def test_wrong_frames_are_counted_not_logged(
    client: WebsocketCommunicator, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that sends nothing but rubbish writes a line now and then, without a traceback."""
    before = wrong_frames.total
    for _ in range(200):
        await answer_to(client, {"type": "message", "text": [SECRET], "marks": SECRET})
    assert wrong_frames.total - before == 200
    lines = [one for one in caplog.records if "frame(s)" in one.message]
    assert len(lines) <= 1
    assert SECRET not in caplog.text
    assert "Traceback" not in caplog.text


class Broken(FrameConsumer):
    incoming = Message
    outgoing = Said

    @handles
    async def say(self, frame: Message) -> Said:
        if frame.text == "wrong model":
            return Moved(to=1)  # type: ignore[return-value]
        if frame.text == "send it":
            await self.send_frame(Moved(to=1))
        return Said.model_validate({"text": None})


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("wrong model", "Broken.outgoing lacks Moved"),
        ("send it", "Broken.outgoing lacks Moved"),
        ("its own", "validation error for Said"),
    ],
)
async def test_a_bug_of_a_handler_is_no_wrong_frame(
    memory_layer: InMemoryChannelLayer, text: str, error: str
) -> None:
    """It is raised, here to the test, and closes the socket with 1011: the client sent nothing wrong."""
    client = WebsocketCommunicator(Broken, "/")
    await client.connect()
    await client.send_json_to({"type": "message", "text": text})
    with pytest.raises((TypeError, ValueError), match=error):
        await client.wait()
    assert await client.receive_output() == {"type": "websocket.close", "code": 1011}


# Before a frame, and around the layer


class Paced(Chat):
    groups = ()
    left = 2

    async def before_frame(self) -> None:
        if self.left == 0:
            raise Refused("Too much at once.", code="too_much")
        self.left -= 1


async def test_a_rate_limit_counts_every_frame(memory_layer: InMemoryChannelLayer) -> None:
    """Also a wrong one; what is refused so is answered with its id, and is not handled."""
    async with WebsocketCommunicator(Paced, "/") as client:
        assert (await answer_to(client, "{"))["code"] == "not_json"
        assert (await answer_to(client, {"type": "move.left"}))["type"] == "moved"
        error = await answer_to(client, {"type": "move.left", "id": "z"})
        assert (error["code"], error["reply_to"]) == ("too_much", "z")


@pytest.mark.parametrize(
    "message",
    [
        frame_message(Unknown()),
        {"type": "deliver.frame"},
        {"type": "deliver.frame", "frame": ["said"], "text": "{}"},
        {"type": "deliver.frame", "frame": "said", "text": 5},
        {"type": "deliver.frame", "frame": "error", "text": "{}"},
        {"type": "move", "how far": 1},
        {"type": "say"},
        {"type": "receive", "text_data": "{}"},
    ],
    ids=str,
)
async def test_what_the_layer_may_not_deliver(
    memory_layer: InMemoryChannelLayer, message: dict[str, Any]
) -> None:
    """A frame that is not in outgoing, or no frame; and no message of the layer calls a frame's handler."""
    client = WebsocketCommunicator(Chat, "/")
    await client.connect()
    await memory_layer.group_send("chat", message)
    with pytest.raises(UnhandledMessage):
        await client.wait()


async def test_a_consumer_may_add_to_a_frame(memory_layer: InMemoryChannelLayer) -> None:
    """A field that is known when it is delivered, without decoding it."""

    class Placed(Chat):
        def frame_text(self, message: dict[str, Any]) -> str:
            return with_fields(message["text"], group="chat", position=message["at"])

    async with WebsocketCommunicator(Placed, "/") as client:
        await memory_layer.group_send("chat", frame_message(Moved(to=2)) | {"at": "7-1"})
        assert await client.receive_json_from() == {
            "group": "chat",
            "position": "7-1",
            "type": "moved",
            "to": 2,
        }


def test_what_has_no_type_is_no_frame() -> None:
    """So it cannot be sent to a group."""

    class Nameless(BaseModel):
        text: str

    with pytest.raises(TypeError, match="Nameless has no type"):
        frame_message(Nameless(text="a"))


def test_fastapis_errors_are_described_too() -> None:
    """In one sentence, without the input."""
    errors = [
        {"type": "int_parsing", "loc": ("body", "n"), "msg": "Input should be a valid integer, x"}
    ]
    assert describe(errors) == "body.n: Input should be a valid integer"


@pytest.mark.usefixtures("each_protocol", "memory_layer")
async def test_frames_on_a_server(caplog: pytest.LogCaptureFixture) -> None:
    """From end to end: an answer by its id beside rubbish of every sort, and an open socket after it."""
    async with serving(Chat.as_asgi()) as address, connect(f"ws://{address}/") as socket:
        for rubbish in ("{", "[]", b"\0", '{"type":"x"}', "[" * 20_000):
            await socket.send(rubbish)
            assert json.loads(await socket.recv())["type"] == "error"
        await socket.send('{"type":"move.right","how far":2,"id":"q"}')
        assert json.loads(await socket.recv()) == {"reply_to": "q", "type": "moved", "to": 2}
    assert "Traceback" not in caplog.text


async def test_a_groups_frame_is_made_into_json_once(memory_layer: InMemoryChannelLayer) -> None:
    """All members of a process send the very text that the sender made."""
    texts = []

    class Member(Chat):
        async def send(self, text_data: str | None = None, *args: Any, **kwargs: Any) -> None:
            texts.append(text_data)
            await super().send(text_data, *args, **kwargs)

    async with contextlib.AsyncExitStack() as members:
        clients = [
            await members.enter_async_context(WebsocketCommunicator(Member, "/")) for _ in range(3)
        ]
        message = frame_message(Moved(to=2))
        await memory_layer.group_send("chat", message)
        for client in clients:
            assert await client.receive_json_from() == {"type": "moved", "to": 2}
    assert len(texts) == 3
    assert all(text is message["text"] for text in texts)


def test_what_frames_cost_is_measured() -> None:
    """Both kinds of consumer in both ways of work; what they cost is for docs, not for a test."""
    costs = frame_cost.main(answered=20, told=5, rounds=1)
    assert len(costs) == 2
    assert all(found.keys() == {"Typed", "Plain"} for found in costs.values())
    assert all(taken > 0 for found in costs.values() for taken in found.values())
