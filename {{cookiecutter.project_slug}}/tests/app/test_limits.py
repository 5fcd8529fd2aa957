"""What one client may use up, and that it is given back."""

import asyncio
import logging
from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI

from {{ cookiecutter.project_slug }} import limits
from {{ cookiecutter.project_slug }}.limits import RoomLimit, TokenBucket

from .visitors import PATIENCE, sign_in, visit

Clock = Callable[[float], None]


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Moves the clock that the limits look at by so many seconds."""
    now = 1000.0

    def pass_time(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(limits.time, "monotonic", lambda: now)
    return pass_time


def test_a_bucket_lets_a_burst_through_and_then_its_rate(pass_time: Clock) -> None:
    bucket = TokenBucket(rate=2, burst=3)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    pass_time(1)
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    pass_time(1000)
    assert sum(bucket.take() for _ in range(10)) == 3


def test_an_address_may_name_so_many_rooms_in_an_hour(
    pass_time: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that it has named stay open to it; the log tells once, and what to do behind a proxy."""
    rooms = RoomLimit(2)
    with caplog.at_level(logging.WARNING):
        assert [rooms.admit("192.0.2.1", room) for room in "abcad"] == [
            *(True, True),
            False,
            True,
            False,
        ]
    assert caplog.text.count("FORWARDED_ALLOW_IPS") == 1
    assert rooms.admit("192.0.2.2", "c")
    pass_time(limits.ROOM_WINDOW)
    assert rooms.admit("192.0.2.1", "c")


def test_an_ipv6_client_is_its_network(pass_time: Clock) -> None:
    rooms = RoomLimit(1)
    assert rooms.admit("2001:db8::1", "a")
    assert not rooms.admit("2001:db8::2", "b")
    assert rooms.admit("2001:db8:0:1::1", "b")


def test_an_unknown_address_is_not_limited() -> None:
    """All clients behind a Unix socket have none."""
    rooms = RoomLimit(1)
    assert all(rooms.admit(None, room) for room in "abc")
    assert [rooms.admit("no-address", room) for room in "ab"] == [True, False]


def test_the_number_of_remembered_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_ADDRESSES", 3)
    rooms = RoomLimit(1)
    for number in range(5):
        assert rooms.admit(f"192.0.2.{number}", "a")
    assert len(rooms._named) == 3
    assert not rooms.admit("192.0.2.4", "b")
    assert rooms.admit("192.0.2.0", "b")


# In the app


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small limits for the app that starts after this."""
    monkeypatch.setenv("FRAMES_PER_SECOND", "0.5")
    monkeypatch.setenv("ROOMS_PER_ADDRESS", "2")


@pytest.mark.usefixtures("_few")
async def test_a_socket_that_sends_too_fast_is_told_and_stays_open(app: FastAPI, room: str) -> None:
    """Ten seconds' worth at once, here five frames; bad ones count too, and the rest is not handled."""
    async with visit(app, room) as ada:
        for _ in range(3):
            assert (await ada.say(room, "Hi"))["type"] == "ok"
            await ada.receive("said")
        await ada.tell("bad")
        assert (await ada.receive("error"))["code"] == "invalid"
        error = await ada.say(room, "Too much")
        assert error["code"] == "too_fast"
        assert "too much at once" in error["detail"]
        async with asyncio.timeout(PATIENCE):
            while (await ada.ask("ping"))["type"] == "error":  # until the next token, 2 s later
                await asyncio.sleep(0.1)
        assert await ada.is_told_no("said")


@pytest.mark.usefixtures("_few")
async def test_an_address_that_names_too_many_rooms_is_refused_the_next(
    app: FastAPI, client: httpx.AsyncClient, room: str
) -> None:
    """Joining, publishing and reading events count alike; a room that it has named stays open to it."""
    cookie = await sign_in(client, "Ada")
    host = "127.0.0.1"  # httpx's, in this process
    async with visit(app, cookie=cookie, host=host) as ada:
        await ada.enter(f"{room}-1")
        assert (await say(client, f"{room}-2")).status_code == 202
        refused = await ada.ask("join", group=f"room.{room}-3")
        assert (refused["code"], "Too many rooms" in refused["detail"]) == ("too_many", True)
        for response in (
            await say(client, f"{room}-3"),
            await client.get(f"/rooms/{room}-3/events"),
        ):
            assert response.status_code == 429
            assert "Too many rooms" in response.json()["detail"]
            assert int(response.headers["retry-after"]) > 0
        assert (await say(client, f"{room}-1")).status_code == 202
        await ada.enter(f"{room}-1")


async def say(client: httpx.AsyncClient, room: str) -> httpx.Response:
    return await client.post(f"/rooms/{room}/messages", json={"text": "Hi"})
