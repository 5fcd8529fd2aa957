"""``make demo`` as a newcomer runs it: a real server on which two people chat."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from rendering import ROOT, environment

START_SECONDS = 180  # the first run installs some fifty packages
ANSWER_SECONDS = 20


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
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a running ``make demo``; its whole process group ends with the tests."""
    folder = tmp_path_factory.mktemp("demo")
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
            wait_until(gone, 20, lambda: f"make demo did not end on Ctrl-C:\n{log.read_text()}")
        finally:
            if not gone():
                os.killpg(process.pid, signal.SIGKILL)


def enter(port: int, name: str) -> ClientConnection:
    """A socket in the lobby, with the headers of a page of the server itself."""
    return connect(
        f"ws://127.0.0.1:{port}/ws/chat/lobby?name={name}",
        origin=Origin(f"http://127.0.0.1:{port}"),
        proxy=None,
        open_timeout=ANSWER_SECONDS,
    )


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
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
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
        assert receive(ann, "welcome")["name"] == "ann"
        assert receive(ben, "welcome")["room"] == "lobby"
        ann.send(json.dumps({"type": "message", "text": "hello"}))
        for client in (ann, ben):
            message = receive(client, "message")
            assert (message["name"], message["text"]) == ("ann", "hello")


@pytest.mark.timeout(START_SECONDS + 60)
def test_a_job_reports_its_progress(port: int) -> None:
    """In memory the worker runs inside the server, so the job button works."""
    with enter(port, "cleo") as client:
        client.send(json.dumps({"type": "job.start"}))
        progress = receive(client, "job.progress")
        assert 0 <= progress["done"] < progress["total"]
        done = receive(client, "job.done")
        assert (done["job"], done["total"]) == (progress["job"], progress["total"])


@pytest.mark.timeout(START_SECONDS + 60)
def test_http_reaches_a_socket(port: int) -> None:
    """A request from outside a socket speaks in the room."""
    with enter(port, "dora") as client:
        receive(client, "welcome")
        posted = httpx.post(
            f"http://127.0.0.1:{port}/rooms/lobby/messages",
            json={"name": "robot", "text": "beep"},
            trust_env=False,
        )
        assert posted.status_code == 202
        message = receive(client, "message")
        assert (message["name"], message["text"]) == ("robot", "beep")
