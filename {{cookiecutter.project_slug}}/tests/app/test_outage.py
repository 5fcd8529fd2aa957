"""The app while its layer is cut off from the broker."""

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from fast_channels.exceptions import ChannelLayerUnavailable
from fast_channels.layers import InMemoryChannelLayer, register_channel_layer

from .visitors import PATIENCE, communicator, receive, visit


class FragileLayer(InMemoryChannelLayer):
    """While it is cut off it refuses like a Redis layer after its timeout."""

    cut_off = False
    refused = 0

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        self._check()
        await super().send(channel, message)

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


@pytest.mark.parametrize("frame", [{"type": "message", "text": "Hello"}, {"type": "job.start"}])
async def test_a_visitor_is_told_and_the_socket_stays_open(
    app: FastAPI, layer: FragileLayer, room: str, frame: dict[str, str]
) -> None:
    register_channel_layer("jobs", layer)
    async with visit(app, room, "Ada") as ada:
        layer.cut_off = True
        await ada.send_json_to(frame)
        assert "cut off" in (await receive(ada, "error"))["detail"]
        layer.cut_off = False
        await ada.send_json_to({"type": "message", "text": "Back again"})
        assert (await receive(ada, "message"))["text"] == "Back again"


async def test_leaving_is_no_error(app: FastAPI, layer: FragileLayer, room: str) -> None:
    """Nobody can be told, and no log fills with tracebacks."""
    async with visit(app, room, "Ada"):
        layer.cut_off = True


async def test_who_arrives_is_asked_to_come_again(
    app: FastAPI, layer: FragileLayer, room: str
) -> None:
    """With 1013, upon which the page tries again later."""
    layer.cut_off = True
    visitor = communicator(app, room, "Ada")
    assert await visitor.connect(PATIENCE) == (True, None)
    close = await visitor.receive_output(PATIENCE)
    assert (close["type"], close["code"]) == ("websocket.close", 1013)
    await visitor.wait(PATIENCE)


async def test_a_job_whose_reports_were_refused_is_done_in_the_end(
    app: FastAPI, layer: FragileLayer, room: str
) -> None:
    """The worker tries again; the socket that asked still hears the end."""
    async with visit(app, room, "Ada") as ada:
        layer.cut_off = True
        await ada.send_json_to({"type": "job.start"})
        async with asyncio.timeout(PATIENCE):
            while not layer.refused:
                await asyncio.sleep(0.01)
        layer.cut_off = False
        await receive(ada, "job.done")


async def test_http_says_that_it_cannot_publish_now(
    client: httpx.AsyncClient, layer: FragileLayer
) -> None:
    layer.cut_off = True
    response = await client.post("/rooms/lobby/messages", json={"name": "Ada", "text": "Hello"})
    assert response.status_code == 503


async def test_the_app_is_live_but_not_ready(
    client: httpx.AsyncClient, layer: FragileLayer
) -> None:
    layer.cut_off = True
    response = await client.get("/health/ready")
    assert (response.status_code, response.json()) == (503, {"status": "unavailable"})
    assert (await client.get("/health/live")).status_code == 200
    layer.cut_off = False
    assert (await client.get("/health/ready")).status_code == 200
