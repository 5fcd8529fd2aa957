"""What one client may use up, and that it is given back."""

import asyncio
import logging
from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI

from fast_channels.layers import InMemoryChannelLayer, register_channel_layer

from {{ cookiecutter.project_slug }} import limits
from {{ cookiecutter.project_slug }}.limits import RoomLimit, Slots, TokenBucket

from .visitors import PATIENCE, Frame, communicator, receive, visit

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


def test_a_slot_is_free_again_after_its_end_or_its_death(pass_time: Clock) -> None:
    """Dead is what was not heard of for as long as the patience lasts."""
    slots = Slots(2, patience=10)
    assert slots.take("a")
    assert slots.take("b")
    assert not slots.take("c")
    slots.free("a")
    assert slots.take("c")
    pass_time(6)
    slots.heard("b")
    pass_time(6)
    assert slots.take("d")  # in the place of c
    assert not slots.take("e")
    slots.free("c")  # too late: it holds no slot
    slots.heard("c")
    assert not slots.take("e")


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
    monkeypatch.setenv("JOBS_PER_SOCKET", "2")
    monkeypatch.setenv("FRAMES_PER_SECOND", "0.5")
    monkeypatch.setenv("ROOMS_PER_ADDRESS", "2")


@pytest.mark.usefixtures("_few")
async def test_a_socket_may_have_so_many_jobs_under_way(app: FastAPI, room: str) -> None:
    """One more is refused, with the id of its frame; others' sockets have their own."""
    register_channel_layer("jobs", InMemoryChannelLayer())  # nobody works on this one
    async with visit(app, room, "Ada") as ada, visit(app, room, "Ben") as ben:
        await receive(ada, "joined")
        answers: list[Frame] = []
        for number in range(3):
            await ada.send_json_to({"type": "job.start", "id": f"j{number}"})
            answers.append(await ada.receive_json_from(PATIENCE))
        assert [answer["type"] for answer in answers] == ["job.progress", "job.progress", "error"]
        assert [answer["id"] for answer in answers] == ["j0", "j1", "j2"]
        await ben.send_json_to({"type": "job.start"})
        await receive(ben, "job.progress")


@pytest.mark.usefixtures("_few")
async def test_a_job_that_has_ended_makes_place(app: FastAPI, room: str) -> None:
    async with visit(app, room, "Ada") as ada:
        for _ in range(4):
            await ada.send_json_to({"type": "job.start"})
            await receive(ada, "job.done")


@pytest.mark.usefixtures("_few")
async def test_a_job_that_died_makes_place(
    app: FastAPI, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is taken for dead after four leases without a word."""
    monkeypatch.setenv("JOB_LEASE_SECONDS", "0.02")
    monkeypatch.setenv("FRAMES_PER_SECOND", "1000")
    limits.get_settings.cache_clear()
    register_channel_layer("jobs", InMemoryChannelLayer())
    async with visit(app, room, "Ada") as ada, asyncio.timeout(PATIENCE):
        for _ in range(6):
            await ada.send_json_to({"type": "job.start"})
            while (await ada.receive_json_from(PATIENCE))["type"] == "error":
                await asyncio.sleep(0.02)
                await ada.send_json_to({"type": "job.start"})


@pytest.mark.usefixtures("_few")
async def test_a_queue_that_refuses_a_job_costs_no_place(app: FastAPI, room: str) -> None:
    jobs = InMemoryChannelLayer(capacity=1)
    register_channel_layer("jobs", jobs)
    await jobs.send("jobs", {"type": "job.run"})
    async with visit(app, room, "Ada") as ada:
        for _ in range(3):
            await ada.send_json_to({"type": "job.start"})
            assert "busy" in (await receive(ada, "error"))["detail"]


@pytest.mark.usefixtures("_few")
async def test_a_socket_that_sends_too_fast_is_told_and_stays_open(app: FastAPI, room: str) -> None:
    """Ten seconds' worth at once, here five frames; bad ones count too, and the rest is not handled."""
    async with visit(app, room, "Ada") as ada:
        for number in range(4):
            await ada.send_json_to({"type": "message", "text": "Hi", "id": f"m{number}"})
            await receive(ada, "message")
        await ada.send_to(text_data="bad")
        await receive(ada, "error")
        await ada.send_json_to({"type": "message", "text": "Hi", "id": "m5"})
        error = await receive(ada, "error")
        assert error["id"] == "m5"
        assert "too much at once" in error["detail"]
        async with asyncio.timeout(PATIENCE):
            answer = error
            while answer["type"] == "error":  # until the next token, 2 s later
                await asyncio.sleep(0.1)
                await ada.send_json_to({"type": "message", "text": "Hi", "id": "m6"})
                answer = await ada.receive_json_from(PATIENCE)
        assert answer["id"] == "m6"


@pytest.mark.usefixtures("_few")
async def test_an_address_that_names_too_many_rooms_is_refused_the_next(
    app: FastAPI, client: httpx.AsyncClient, room: str
) -> None:
    """Joining and publishing count alike; a room that it has named stays open to it."""
    said = {"name": "Robot", "text": "Hi"}
    host = "127.0.0.1"  # httpx's, in this process
    entered = communicator(app, f"{room}-1", "Ada")
    entered.scope["client"] = (host, 5000)
    assert await entered.connect(PATIENCE) == (True, None)
    await receive(entered, "joined")
    assert (await client.post(f"/rooms/{room}-2/messages", json=said)).status_code == 202
    refused = communicator(app, f"{room}-3", "Ada")
    refused.scope["client"] = (host, 5001)
    assert await refused.connect(PATIENCE) == (True, None)
    close = await refused.receive_output(PATIENCE)
    assert (close["code"], "Too many rooms" in close["reason"]) == (4000, True)
    assert len(close["reason"].encode()) <= 123  # more does not fit (RFC 6455, 5.5)
    await refused.wait(PATIENCE)
    response = await client.post(f"/rooms/{room}-3/messages", json=said)
    assert response.status_code == 429
    assert "Too many rooms" in response.json()["detail"]
    assert int(response.headers["retry-after"]) > 0
    assert (await client.post(f"/rooms/{room}-1/messages", json=said)).status_code == 202
    await entered.disconnect(timeout=PATIENCE)
