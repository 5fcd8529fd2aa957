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


def sign_in(client: TestClient, name: str) -> dict[str, str]:
    """The headers of a page of this user."""
    client.cookies.clear()
    client.post("/session", json={"name": name})
    return {**OWN_PAGE, "cookie": f"session={client.cookies['session']}"}


@pytest.mark.parametrize("turn", ["first", "second"])
def test_two_people_talk(monkeypatch: pytest.MonkeyPatch, room: str, turn: str) -> None:
    """They hear each other and what comes by HTTP, and a job is done; a second client works too."""
    monkeypatch.setenv("JOB_STEP_SECONDS", "0.001")
    from {{ cookiecutter.project_slug }}.main import app

    with (
        TestClient(app) as client,
        client.websocket_connect("/ws/chat", headers=sign_in(client, "Ada")) as ada,
        client.websocket_connect("/ws/chat", headers=sign_in(client, "Bob")) as bob,
    ):
        group = f"room.{room}"
        for socket in (ada, bob):
            socket.send_json({"type": "join", "group": group, "id": "1"})
            assert receive(socket, "joined")["reply_to"] == "1"
        ada.send_json({"type": "say", "group": group, "text": "hello"})
        assert receive(bob, "said")["text"] == receive(ada, "said")["text"] == "hello"
        said = client.post(f"/rooms/{room}/messages", json={"text": "by HTTP"})
        assert said.status_code == 202
        assert receive(bob, "said")["user"]["name"] == receive(ada, "said")["user"]["name"] == "Bob"
        ada.send_json({"type": "start_job", "kind": "steps", "id": "2"})
        ada.send_json({"type": "join", "group": receive(ada, "job_started")["group"], "id": "3"})
        assert receive(ada, "job_ended")["state"] == "done"


def test_another_page_is_refused() -> None:
    """So is a socket without an Origin header, which is how the client opens one by default."""
    from {{ cookiecutter.project_slug }}.main import app

    with TestClient(app) as client:
        cookie = sign_in(client, "Ada")["cookie"]
        for headers in ({}, {"origin": "http://elsewhere.example"}):
            with (
                pytest.raises(WebSocketDisconnect),
                client.websocket_connect("/ws/chat", headers={"cookie": cookie} | headers),
            ):
                pass
