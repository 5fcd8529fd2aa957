"""What the four recipes promise, all of them in one project, on a real process."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

import my_chat.accounts

from ..fast_channels.support.redis_servers.ports import free_port
from . import visitors
from .processes import WebProcess, environment
from .visitors import PATIENCE, Visitor, close_code, http_to, text_of, visit_server

PASSWORD = "correct horse battery"
REFUSED = (401, {"detail": "Wrong name or password."}, "session=None")


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table, with a user that was added as the page says, and more."""
    file = tmp_path_factory.mktemp("accounts") / "accounts.sqlite3"
    added = subprocess.run(
        [sys.executable, "-m", "my_chat.accounts", "Ann"],
        env=environment({"ACCOUNTS": str(file)}),
        input=f"{PASSWORD}\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        start_new_session=True,  # without a terminal the password comes from its input
    )
    assert added.returncode == 0, added.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(my_chat.accounts, "FILE", file)
        for name in ("Bo", "Cy"):
            my_chat.accounts.add(name, PASSWORD)
    return file


@pytest.fixture(scope="module")
def model_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(
    accounts: Path, model_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebProcess]:
    settings = {"ACCOUNTS": str(accounts), "MODEL_URL": f"http://127.0.0.1:{model_port}/v1"}
    with WebProcess(tmp_path_factory.mktemp("server"), settings) as server:
        yield server
        print(server.said())


async def sign_in(server: WebProcess, **body: Any) -> tuple[int, dict[str, Any], str]:
    """Status, answer and cookie of a sign-in from a device of its own."""
    async with http_to(server.url) as client:
        response = await client.post("/session", json=body)
        return response.status_code, response.json(), f"session={client.cookies.get('session')}"


@pytest.fixture(scope="module")
def kept() -> dict[str, str]:
    """Cookies of those who have signed in: to look at a password takes its time."""
    return {}


@pytest.fixture
async def ann(server: WebProcess, kept: dict[str, str]) -> str:
    """The cookie of Ann."""
    return await cookie_of("Ann", server, kept)


@pytest.fixture
async def bo(server: WebProcess, kept: dict[str, str]) -> str:
    return await cookie_of("Bo", server, kept)


async def cookie_of(name: str, server: WebProcess, kept: dict[str, str]) -> str:
    if name not in kept:
        kept[name] = (await sign_in(server, name=name, password=PASSWORD))[2]
    return kept[name]


# A typing indicator, and what is like it


async def test_a_hand_is_seen_by_those_who_are_there(
    server: WebProcess, room: str, ann: str, bo: str
) -> None:
    """Once in 3 s, beside the signs of typing; nobody gets it afterwards, or without having joined."""
    group = f"room.{room}"
    async with (
        visit_server(server.url, room, cookie=ann) as page,
        visit_server(server.url, room, cookie=bo) as other,
        visit_server(server.url, cookie=bo) as late,
    ):
        await page.tell("typing", group=group)
        for _ in range(3):
            assert (await page.ask("raise_hand", group=group))["type"] == "ok"
        raised = {"type": "hand_raised", "group": group, "user": page.user}
        assert await other.receive("typing") == {**raised, "type": "typing"}
        assert await other.receive("hand_raised") == raised
        assert await other.is_told_no("hand_raised")
        assert (await late.ask("raise_hand", group=group))["code"] == "not_joined"
        assert (await late.enter(room, history=50))["events"] == []


# A second consumer


@asynccontextmanager
async def listen(url: str, cookie: str) -> AsyncIterator[Visitor]:
    """The other socket of a page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(visitors, "SOCKET", "/ws/notifications")
        async with visit_server(url, cookie=cookie) as listener:
            yield listener


async def test_a_notification_reaches_all_devices_of_the_user(
    server: WebProcess, ann: str, bo: str
) -> None:
    """And nobody else's, nor the chat's socket of the same user, which knows no such frame."""
    async with (
        http_to(server.url) as client,
        visit_server(server.url, cookie=ann) as chat,
        listen(server.url, ann) as phone,
        listen(server.url, ann) as laptop,
        listen(server.url, bo) as other,
    ):
        body, headers = {"text": " Lunch? "}, {"cookie": ann}
        sent = await client.post("/notifications", json=body, headers=headers)
        assert sent.status_code == 202, sent.text
        for device in (phone, laptop):
            assert (await device.receive("notification"))["text"] == "Lunch?"
        assert await other.is_told_no("notification")
        assert (await chat.ask("ping"))["type"] == "ok"
        assert (await phone.ask("ping"))["type"] == "ok"
        assert (await phone.ask("say", group="room.lobby", text="Hi"))["code"] == "invalid"
    assert "refused" not in server.said()


async def test_notifications_are_for_who_is_signed_in_as_long_as_that_lasts(
    server: WebProcess,
) -> None:
    async with http_to(server.url) as client:
        assert (await client.post("/notifications", json={"text": "Hi"})).status_code == 401
        with pytest.raises(InvalidStatus) as refused:
            async with listen(server.url, "session=forged"):
                pass
        assert refused.value.response.status_code == 401
        await client.post("/session", json={"name": "Bo", "password": PASSWORD})
        assert (await client.post("/notifications", json={"text": "x" * 2001})).status_code == 422
        async with listen(server.url, f"session={client.cookies['session']}") as phone:
            await client.delete("/session")
            assert await close_code(phone) == 4403
        document = (await client.get("/asyncapi.json")).json()
        addresses = {one["address"] for one in document["channels"].values()}
        assert addresses == {"/ws/chat", "/ws/notifications"}


# A job type


class Model:
    """A server that streams WORDS by the protocol of OpenAI, up to `holds_at` of them at first."""

    WORDS = "Well, that is a question of which a long answer may be given to whoever has asked it."

    def __init__(self) -> None:
        self.asked: list[list[dict[str, str]]] = []  # the messages of each request
        self.left = asyncio.Event()  # by a client, before the end
        self.breaks_at: int | None = None  # characters, once
        self.holds_at: int | None = None
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert head.startswith("post /v1/chat/completions ")
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        self.asked.append(json.loads(await reader.readexactly(length))["messages"])
        try:
            await self.stream(reader, writer)
        finally:
            writer.close()

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        said = "".join(one["content"] for one in self.asked[-1] if one["role"] == "assistant")
        for at in range(len(said), len(self.WORDS), 5):
            if at >= (self.holds_at or 1000):
                assert await reader.read() == b""
                self.left.set()
                return
            if at >= (self.breaks_at or 1000):
                self.breaks_at = None
                return
            delta = {"choices": [{"delta": {"content": self.WORDS[at : at + 5]}}]}
            self.chunk(writer, f"data: {json.dumps(delta)}\n\n")
        self.chunk(writer, "data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def chunk(self, writer: asyncio.StreamWriter, text: str) -> None:
        writer.write(f"{len(text):x}\r\n{text}\r\n".encode())


@pytest.fixture
async def model(server: WebProcess, model_port: int) -> AsyncIterator[Model]:
    model = Model()
    async with await asyncio.start_server(model.answer, "127.0.0.1", model_port):
        yield model


async def test_a_models_answer_is_a_job(server: WebProcess, model: Model, ann: str) -> None:
    """In pieces; another device has all of it, and another attempt goes on where the first one broke."""
    model.breaks_at = 40
    async with (
        visit_server(server.url, cookie=ann) as page,
        visit_server(server.url, cookie=ann) as device,
    ):
        job = (await page.start("model", prompt="Why?"))["job"]
        *pieces, end = await page.receive_until("job_ended")
        assert (text_of(pieces), end["state"]) == (Model.WORDS, "done")
        assert {len(piece["text"]) for piece in pieces[:-1]} == {20}
        assert (await device.follow(job))["events"] == [*pieces, end]
    question = {"role": "user", "content": "Why?"}
    begun = {"role": "assistant", "content": Model.WORDS[:40]}
    assert model.asked == [[question], [question, begun]]


async def test_a_cancelled_answer_leaves_the_model(
    server: WebProcess, model: Model, bo: str
) -> None:
    """Its connection is closed, so that it stops."""
    model.holds_at = 40
    async with visit_server(server.url, cookie=bo) as page:
        job = (await page.start("model", prompt="Why?"))["job"]
        await page.receive("job_output")
        assert (await page.ask("cancel_job", job=job))["type"] == "ok"
        assert (await page.receive("job_ended"))["state"] == "cancelled"
        async with asyncio.timeout(PATIENCE):
            await model.left.wait()
        assert len(model.asked) == 1


# A login


async def test_a_password_signs_in(server: WebProcess, ann: str) -> None:
    """As the same user on each device; a wrong one, an unknown name and a name alone do not, all alike."""
    status, told, cookie = await sign_in(server, name="ann", password=PASSWORD)
    assert (status, told["user"]["name"]) == (200, "Ann")
    for device in (ann, cookie):
        async with visit_server(server.url, "lobby", cookie=device) as page:
            assert page.user == told["user"]
    assert await sign_in(server, name="Ann", password="correct horse batteries") == REFUSED
    assert await sign_in(server, name="Nobody", password=PASSWORD) == REFUSED
    assert await sign_in(server, name="Ann") == REFUSED
    assert (await sign_in(server, name="Ann", password="x" * 201))[0] == 422


async def test_guessing_has_an_end(server: WebProcess, accounts: Path) -> None:
    """After five wrong passwords, also at the same time, the right one has to wait."""
    guesses = [sign_in(server, name="Cy", password=f"guess {number}") for number in range(5)]
    assert await asyncio.gather(*guesses) == [REFUSED] * 5
    assert await sign_in(server, name="Cy", password=PASSWORD) == REFUSED
    with sqlite3.connect(accounts) as database:
        database.execute("UPDATE account SET tried = tried - 301")
    assert (await sign_in(server, name="Cy", password=PASSWORD))[0] == 200


def test_a_name_is_given_once_and_no_short_password_is_taken(
    accounts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(my_chat.accounts, "FILE", accounts)
    with pytest.raises(sqlite3.IntegrityError):
        my_chat.accounts.add("ANN", PASSWORD)
    with pytest.raises(ValueError, match="needs 12 characters or more, not 5"):
        my_chat.accounts.add("Di", "short")
    assert PASSWORD.encode() not in accounts.read_bytes()


async def test_a_session_is_renewed_without_the_password_while_there_is_an_account(
    server: WebProcess, accounts: Path, bo: str
) -> None:
    async def renew() -> int:
        async with http_to(server.url) as client:
            response = await client.post("/session", json={"name": "Bo"}, headers={"cookie": bo})
            return response.status_code

    assert await renew() == 200
    with sqlite3.connect(accounts) as database:
        database.execute("DELETE FROM account WHERE name = 'Bo'")
    assert await renew() == 401
