"""The app around the typed frames of the example, and its tests."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.routing import WebSocketRoute

from fast_channels.frames import AsyncAPI, typescript
from fast_channels.layers import (
    InMemoryChannelLayer,
    register_channel_layer,
    unregister_channel_layer,
)
from fast_channels.testing import WebsocketCommunicator

from .test_frames import RoomConsumer

app = FastAPI()
app.router.routes.append(WebSocketRoute("/ws/room", RoomConsumer.as_asgi()))

# app
api = AsyncAPI("Room", "1.0", {"/ws/room": RoomConsumer})
api.serve(app)


# test
TYPES = Path(__file__).parent / "frames.d.ts"  # where the browser's code is


def test_the_browsers_types_are_of_the_models() -> None:
    assert TYPES.read_text(encoding="utf-8") == typescript(RoomConsumer)


# end
@pytest.fixture(autouse=True)
def types_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file that a reader has made."""
    monkeypatch.setitem(globals(), "TYPES", tmp_path / "frames.d.ts")
    (tmp_path / "frames.d.ts").write_text(typescript(RoomConsumer), encoding="utf-8")


async def test_a_room() -> None:
    """A reply, a refusal, an error and what a group gets look as the page says."""
    register_channel_layer("default", InMemoryChannelLayer())
    try:
        async with WebsocketCommunicator(RoomConsumer, "/ws/room") as client:
            await client.send_json_to({"type": "roll", "sides": 20, "id": "q1"})
            assert await client.receive_json_from() == {
                "reply_to": "q1",
                "type": "rolled",
                "value": 10,
            }
            await client.send_json_to({"type": "say", "text": "Hello"})
            assert await client.receive_json_from() == {"type": "said", "text": "Hello"}
            await client.send_json_to({"type": "roll", "sides": 7, "id": "q2"})
            assert (await client.receive_json_from())["code"] == "no_die"
            await client.send_json_to({"type": "say", "text": "", "id": "q3"})
            assert await client.receive_json_from() == {
                "reply_to": "q3",
                "type": "error",
                "code": "invalid",
                "detail": "text: String should have at least 1 character",
                "errors": [
                    {
                        "loc": ["text"],
                        "msg": "String should have at least 1 character",
                        "type": "string_too_short",
                    }
                ],
            }
    finally:
        unregister_channel_layer("default")


def test_the_app_serves_the_documents() -> None:
    """Under the paths that the page names."""
    browser = TestClient(app)
    assert browser.get("/asyncapi.json").json()["asyncapi"] == "3.0.0"
    assert "/ws/room" in browser.get("/asyncapi").text
