"""``make demo`` as a newcomer runs it: a real server on which two people chat."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from rendering import ROOT, environment, run

START_SECONDS = 300  # the first run installs some packages; only a failing test waits so long
ANSWER_SECONDS = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], seconds: float, failure: Callable[[], str]) -> None:
    """Poll ``condition`` until it holds; after ``seconds`` fail with what ``failure`` returns."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(failure())
        time.sleep(0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it renders, beside what it says."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    """The port of a running ``make demo``; its whole process group ends with the tests."""
    number = free_port()
    log = folder / "demo.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["make", "demo", f"PORT={number}", f"DEMO={folder / 'build'}"],
            cwd=ROOT,
            env=environment(REDIS_URL=""),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def alive() -> bool:
        if process.poll() is not None:
            pytest.fail(f"make demo ended with {process.returncode}:\n{log.read_text()}")
        try:
            return httpx.get(f"http://127.0.0.1:{number}/health/live", trust_env=False).is_success
        except httpx.TransportError:
            return False

    try:
        wait_until(alive, START_SECONDS, lambda: f"no answer on {number}:\n{log.read_text()}")
        yield number
    finally:
        stop(process, log)


def stop(process: subprocess.Popen[bytes], log: Path) -> None:
    """Interrupt the group as Ctrl-C does, and wait until no process of it is left."""

    def gone() -> bool:
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    if not gone():
        os.killpg(process.pid, signal.SIGINT)
        try:
            wait_until(gone, 60, lambda: f"make demo did not end on Ctrl-C:\n{log.read_text()}")
        finally:
            if not gone():
                os.killpg(process.pid, signal.SIGKILL)


def test_it_ends_with_the_address(folder: Path, port: int) -> None:
    """What is said last is where to look."""
    wait_until(
        lambda: said(folder)[-1] == f"Open http://127.0.0.1:{port} - Ctrl-C ends it.",
        ANSWER_SECONDS,
        lambda: "\n".join(said(folder)),
    )


def said(folder: Path) -> list[str]:
    lines = (folder / "demo.log").read_text().splitlines()
    return [line for line in lines if line]


def test_it_installs_what_it_runs_with(folder: Path, port: int) -> None:
    """The project's linters and test tools come with the first `make test` or `make lint`."""
    (packages,) = (folder / "build" / "my_chat" / ".venv" / "lib").glob("python*/site-packages")
    assert (packages / "uvicorn").is_dir()
    assert [name for name in ("pytest", "mypy", "ruff") if (packages / name).exists()] == []


def test_changes_are_kept(port: int, tmp_path: Path) -> None:
    """A demo of a project that is there leaves it and says so; FRESH=1 renders over it. Rendering
    installs cookiecutter only.
    """
    readme = tmp_path / "build" / "my_chat" / "README.md"
    readme.parent.mkdir(parents=True)
    readme.write_text("mine\n")
    environment = tmp_path / "environment"
    demo = ("make", "demo", f"PORT={port}", f"DEMO={tmp_path / 'build'}")  # a port that is taken
    fresh = run(*demo, "FRESH=1", cwd=ROOT, env={"UV_PROJECT_ENVIRONMENT": str(environment)})
    assert readme.read_text().startswith("# My Chat"), fresh.stdout
    (packages,) = (environment / "lib").glob("python*/site-packages")
    assert (packages / "cookiecutter").is_dir()
    assert [name for name in ("pytest", "mypy", "ruff") if (packages / name).exists()] == []
    readme.write_text("mine\n")
    kept = run(*demo, cwd=ROOT)
    assert "is there and stays as it is; make demo FRESH=1 renders" in kept.stdout
    assert readme.read_text() == "mine\n"


def http(port: int) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=ANSWER_SECONDS
    )


@contextmanager
def enter(port: int, name: str) -> Iterator[ClientConnection]:
    """Somebody who has signed in and is in the lobby, with the headers of a page of the server itself."""
    with http(port) as client:
        assert client.post("/session", json={"name": name}).status_code == 200
        cookie = f"session={client.cookies['session']}"
    with connect(
        f"ws://127.0.0.1:{port}/ws/chat",
        origin=Origin(f"http://127.0.0.1:{port}"),
        additional_headers={"cookie": cookie},
        proxy=None,
        open_timeout=ANSWER_SECONDS,
    ) as socket:
        assert receive(socket, "welcome")["user"]["name"] == name
        socket.send(json.dumps({"type": "join", "group": "room.lobby", "id": "1"}))
        assert receive(socket, "joined")["reply_to"] == "1"
        yield socket


def receive(client: ClientConnection, kind: str) -> dict[str, Any]:
    """The next message of a kind; others before it are passed over."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        message: dict[str, Any] = json.loads(client.recv(timeout=deadline - time.monotonic()))
        if message["type"] == kind:
            return message


@pytest.mark.timeout(START_SECONDS + 60)
def test_the_page_and_health_answer(port: int) -> None:
    """The page is served with its styles and scripts, and the app says that it is alive and ready."""
    with http(port) as client:
        page = client.get("/")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        parts = re.findall(r'(?:src|href)="([^"#]*static/[^"]+)"', page.text)
        assert {Path(part).suffix for part in parts} >= {".css", ".js"}
        assert {
            part: client.get(urljoin("/", part)).status_code for part in parts
        } == dict.fromkeys(parts, 200)
        assert client.get("/health/live").json() == {"status": "ok"}
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()) == (200, {"status": "ok"})


@pytest.mark.timeout(START_SECONDS + 60)
def test_two_people_chat(port: int) -> None:
    """What one says both read, once."""
    with enter(port, "ann") as ann, enter(port, "ben") as ben:
        ann.send(json.dumps({"type": "say", "group": "room.lobby", "text": "hello"}))
        for client in (ann, ben):
            message = receive(client, "said")
            assert (message["user"]["name"], message["text"]) == ("ann", "hello")


@pytest.mark.timeout(START_SECONDS + 60)
def test_a_job_says_how_far_it_is(port: int) -> None:
    """In memory the worker runs inside the server, so the jobs work."""
    with enter(port, "cleo") as client:
        client.send(json.dumps({"type": "start_job", "kind": "steps", "id": "2"}))
        job = receive(client, "job_started")
        client.send(json.dumps({"type": "join", "group": job["group"], "history": 1000}))
        assert receive(client, "joined")["group"] == job["group"]
        assert receive(client, "job_progress")["total"] == 20
        ended = receive(client, "job_ended")
        assert (ended["job"], ended["state"]) == (job["job"], "done")


@pytest.mark.timeout(START_SECONDS + 60)
def test_http_reaches_a_socket(port: int) -> None:
    """A request from outside a socket speaks in the room, as who is signed in."""
    with enter(port, "dora") as client, http(port) as robot:
        assert robot.post("/rooms/lobby/messages", json={"text": "beep"}).status_code == 401
        robot.post("/session", json={"name": "robot"})
        assert robot.post("/rooms/lobby/messages", json={"text": "beep"}).status_code == 202
        message = receive(client, "said")
        assert (message["user"]["name"], message["text"]) == ("robot", "beep")
