"""The app while its layer is cut off from the broker."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from fast_channels.exceptions import ChannelLayerUnavailable
from fast_channels.layers import InMemoryChannelLayer, register_channel_layer
from fast_channels.layers.history import Joined

from .visitors import PATIENCE, communicator, sign_in, visit


class FragileLayer(InMemoryChannelLayer):
    """While it is cut off it refuses like a Redis layer after its timeout."""

    cut_off = False
    refused = 0

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        self._check()
        await super().send(channel, message)

    async def join(self, group: str, channel: str, **options: Any) -> Joined:
        self._check()
        return await super().join(group, channel, **options)

    async def group_add(self, group: str, channel: str) -> None:
        self._check()
        await super().group_add(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self._check()
        await super().group_send(group, message)

    def _check(self) -> None:
        if self.cut_off:
            self.refused += 1
            raise ChannelLayerUnavailable("cut off by the test")


@pytest.fixture
def layer(app: FastAPI) -> FragileLayer:
    """The sockets' layer; jobs go their way as before."""
    layer = FragileLayer()
    register_channel_layer("default", layer)
    return layer


async def test_a_visitor_is_told_and_the_socket_stays_open(
    app: FastAPI, layer: FragileLayer, room: str
) -> None:
    register_channel_layer("jobs", layer)
    async with visit(app, room) as ada:
        layer.cut_off = True
        for answer in (
            await ada.say(room, "Hello"),
            await ada.ask("join", group=f"room.{room}-2"),
            await ada.ask("start_job", kind="steps"),
        ):
            assert answer["code"] == "unavailable"
            assert "cut off" in answer["detail"]
        layer.cut_off = False
        await ada.say(room, "Back again")
        assert (await ada.receive("said"))["text"] == "Back again"


async def test_leaving_is_no_error(app: FastAPI, layer: FragileLayer, room: str) -> None:
    """Nobody can be told, and no log fills with tracebacks."""
    async with visit(app, room):
        layer.cut_off = True


async def test_who_arrives_is_asked_to_come_again(
    app: FastAPI, client: httpx.AsyncClient, layer: FragileLayer
) -> None:
    """With HTTP 503, upon which the page tries again later."""
    visitor = communicator(app, await sign_in(client, "Ada"))
    layer.cut_off = True
    assert await visitor.connect(PATIENCE) == (False, 503)
    await visitor.wait(PATIENCE)


async def test_a_gap_is_told(app: FastAPI, layer: FragileLayer, room: str) -> None:
    """Where the layer was cut off from the broker: the page joins again by its positions."""
    async with visit(app, room) as ada:
        await layer.group_send(f"room.{room}", {"type": "layer.reconnected"})
        assert await ada.receive("incomplete") == {"type": "incomplete"}


async def test_a_job_whose_reports_were_refused_is_done_in_the_end(
    app: FastAPI, layer: FragileLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker tries again, and what it had said is not said twice."""
    monkeypatch.setattr("fast_channels.worker.FIRST_RETRY", 0.01)
    async with visit(app) as ada:
        await ada.start("steps")
        await ada.receive("job_progress")
        layer.cut_off = True
        async with asyncio.timeout(PATIENCE):
            while not layer.refused:
                await asyncio.sleep(0.01)
        layer.cut_off = False
        *steps, end = await ada.receive_until("job_ended")
        assert end["state"] == "done"
        assert [step["done"] for step in steps] == list(range(2, 21))


async def test_http_says_that_it_cannot_publish_now(
    client: httpx.AsyncClient, layer: FragileLayer
) -> None:
    await sign_in(client, "Ada")
    layer.cut_off = True
    response = await client.post("/rooms/lobby/messages", json={"text": "Hello"})
    assert response.status_code == 503
    assert (await client.delete("/session")).status_code == 503
    assert (
        await client.get("/session")
    ).status_code == 401  # this device is signed out all the same


async def test_the_app_is_live_but_not_ready(
    client: httpx.AsyncClient, layer: FragileLayer
) -> None:
    layer.cut_off = True
    response = await client.get("/health/ready")
    assert (response.status_code, response.json()) == (503, {"status": "unavailable"})
    assert (await client.get("/health/live")).status_code == 200
    layer.cut_off = False
    assert (await client.get("/health/ready")).status_code == 200
