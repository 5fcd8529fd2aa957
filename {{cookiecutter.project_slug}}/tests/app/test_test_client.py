"""FastAPI's TestClient, for those who know it: the whole app, its lifespan and its worker included.

Its sockets are blocking, and run with the app in a thread of their own.
"""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

# The client calls itself so; a page of another host may not open a socket.
OWN_PAGE = {"origin": "http://testserver"}


def receive(socket: WebSocketTestSession, kind: str) -> Any:
    """The next frame of type `kind`; what comes before it is skipped."""
    while (frame := socket.receive_json())["type"] != kind:
        pass
    return frame


@pytest.mark.parametrize("turn", ["first", "second"])
def test_two_people_talk(monkeypatch: pytest.MonkeyPatch, room: str, turn: str) -> None:
    """They hear each other and what comes by HTTP, and a job is done; a second client works too."""
    monkeypatch.setenv("JOB_STEP_SECONDS", "0.001")
    from {{ cookiecutter.project_slug }}.main import app

    path = f"/ws/chat/{room}?name="
    with (
        TestClient(app) as client,
        client.websocket_connect(f"{path}Ada", headers=OWN_PAGE) as ada,
        client.websocket_connect(f"{path}Bob", headers=OWN_PAGE) as bob,
    ):
        receive(ada, "welcome")
        receive(bob, "welcome")
        ada.send_json({"type": "message", "text": "hello"})
        assert receive(bob, "message")["text"] == receive(ada, "message")["text"] == "hello"
        said = client.post(f"/rooms/{room}/messages", json={"name": "Eve", "text": "by HTTP"})
        assert said.status_code == 202
        assert receive(bob, "message")["text"] == receive(ada, "message")["text"] == "by HTTP"
        ada.send_json({"type": "job.start"})
        assert receive(ada, "job.done")


def test_another_page_is_refused(room: str) -> None:
    """So is a socket without an Origin header, which is how the client opens one by default."""
    from {{ cookiecutter.project_slug }}.main import app

    with TestClient(app) as client:
        for headers in ({}, {"origin": "http://elsewhere.example"}):
            with (
                pytest.raises(WebSocketDisconnect),
                client.websocket_connect(f"/ws/chat/{room}?name=Ada", headers=headers),
            ):
                pass
