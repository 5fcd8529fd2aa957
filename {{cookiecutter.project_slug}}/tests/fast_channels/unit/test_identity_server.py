"""Identity behind a real server: what travels over the wire, and between processes."""

import asyncio
import os
import signal
import socket
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.identity import (
    SESSION_EXPIRED,
    SIGNED_OUT,
    IdentityMixin,
    close_user,
    send_to_user,
)
from fast_channels.layers import InMemoryChannelLayer, RedisPubSubChannelLayer

from ..support.children import PYTHONPATH
from ..support.expect import DEADLINE, eventually
from ..support.programs import Program
from ..support.redis_servers import RedisServer
from ..support.uvicorn_server import serving


class Desk(IdentityMixin, AsyncWebsocketConsumer):
    user = "ann"
    disconnect_grace = 0.01
    pause = 0.0
    codes: list[int]
    sent: list[int]

    async def connect(self) -> None:
        await asyncio.sleep(self.pause)
        await self.accept()
        await self.send("welcome")

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        for number in range(1000):
            await self.send("x" * 60_000)
            self.sent.append(number)

    async def disconnect(self, code: int) -> None:
        self.codes.append(code)


async def ending(client: Any) -> tuple[int, str]:
    """The code and reason of the close frame that comes next."""
    with pytest.raises(ConnectionClosed) as caught:
        async with asyncio.timeout(DEADLINE):
            await client.recv()
    assert caught.value.rcvd is not None
    return caught.value.rcvd.code, caught.value.rcvd.reason


async def refused(url: str) -> int:
    with pytest.raises(InvalidStatus) as caught:
        await connect(url, open_timeout=DEADLINE).__aenter__()  # its process may still be starting
    return int(caught.value.response.status_code)


@pytest.mark.usefixtures("each_protocol")
async def test_the_client_learns_why_it_is_closed(memory_layer: InMemoryChannelLayer) -> None:
    """Code and reason travel; `disconnect()` gets the code."""
    codes: list[int] = []
    async with serving(Desk.as_asgi(codes=codes)) as address:
        async with connect(f"ws://{address}") as client:
            assert await client.recv() == "welcome"
            await close_user(memory_layer, "ann", reason="You signed out in another window.")
            assert await ending(client) == (SIGNED_OUT, "You signed out in another window.")
        await eventually(lambda: codes == [SIGNED_OUT], "disconnect()")
    until = time.time() + 3
    async with serving(Desk.as_asgi(codes=codes, session_expires_at=until)) as address:
        async with connect(f"ws://{address}") as client:
            assert await client.recv() == "welcome"
            assert await ending(client) == (SESSION_EXPIRED, "The session has expired.")
        assert await refused(f"ws://{address}") == 401


@pytest.mark.usefixtures("each_protocol")
async def test_a_socket_in_its_connect_is_refused(
    memory_layer: InMemoryChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    """With HTTP 403; what `connect()` then does is no error."""
    codes: list[int] = []
    async with serving(Desk.as_asgi(codes=codes, pause=1.0)) as address:
        waiting = asyncio.create_task(refused(f"ws://{address}"))
        await eventually(lambda: bool(memory_layer.local.members), "it to come")
        await close_user(memory_layer, "ann")
        assert await waiting == 403
        await eventually(lambda: bool(codes), "disconnect()")
    assert "Exception" not in caplog.text
    assert "Error" not in caplog.text


@pytest.mark.usefixtures("each_protocol")
async def test_a_client_that_reads_nothing_is_let_go(memory_layer: InMemoryChannelLayer) -> None:
    """Although its handler waits in `send()`, and its server may not get rid of the close."""
    codes: list[int] = []
    sent: list[int] = []
    async with serving(Desk.as_asgi(codes=codes, sent=sent)) as address:
        client = await connect(f"ws://{address}", max_queue=1, compression=None)
        await client.send("flood")
        before = -1
        while len(sent) != before or not sent:
            before = len(sent)
            await asyncio.sleep(0.2)
        assert len(sent) < 1000
        await close_user(memory_layer, "ann")
        await eventually(lambda: not memory_layer.local.members, "the socket to be gone")
        assert codes == [SIGNED_OUT]
        client.transport.abort()


# Two web processes, and this one, over Redis

OUTPUT = "output"  # a file in the folder of both

PROGRAM = """
import asyncio, os, sys
import uvicorn
from contextlib import asynccontextmanager
from typing import Annotated
from fastapi import Cookie, Depends, FastAPI, HTTPException, WebSocket
from starlette.requests import HTTPConnection
from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.identity import IdentityMixin, close_user
from fast_channels.layers import RedisPubSubChannelLayer, open_layers

layers = {"default": RedisPubSubChannelLayer([os.environ["REDIS"]], prefix=os.environ["PREFIX"])}

@asynccontextmanager
async def lifespan(app):
    async with open_layers(layers):
        yield

app = FastAPI(lifespan=lifespan)

async def current_user(connection: HTTPConnection):
    if (user := connection.cookies.get("user")) is None:
        raise HTTPException(401, "Sign in first.")
    try:
        yield user
    finally:
        await asyncio.sleep(0.01)
        print("released", user, flush=True)

User = Annotated[str, Depends(current_user)]

class Desk(IdentityMixin, AsyncJsonWebsocketConsumer):
    async def note(self, message):
        await self.send_json(message["text"])

@app.websocket("/desk")
async def desk(websocket: WebSocket, user: User, device: str = ""):
    await Desk.serve(websocket, user=user, session=device)

@app.post("/sign-out")
async def sign_out(user: User, device: str):
    await close_user(layers["default"], user, reason="Signed out.", session=device)

uvicorn.run(app, fd=int(sys.argv[1]), ws=os.environ["WS"], log_level="warning")
"""


@asynccontextmanager
async def web_process(folder: Path, **environment: str) -> AsyncIterator[tuple[str, Any]]:
    """A process that serves `PROGRAM`: its address, and what sends it SIGTERM and waits for its end."""
    (folder / "desk.py").write_text(PROGRAM)
    env = os.environ | {"PYTHONPATH": PYTHONPATH} | environment
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = Program("desk", cwd=folder, env=env, log=folder / OUTPUT, listening=listening)
        address = "{}:{}".format(*listening.getsockname())

    async def stop() -> None:
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, DEADLINE)

    try:
        yield address, stop
    finally:
        process.kill()


@pytest.mark.parametrize("ws", ["auto", "fast_channels.server:WebSocketProtocol"])
async def test_users_of_several_processes(
    redis_server: RedisServer, tmp_path: Path, ws: str
) -> None:
    """A message and a sign-out of one device reach the sockets in all of them; a process that is told to
    stop releases what its dependencies hold.
    """
    prefix = f"test-{uuid.uuid4().hex[:8]}"
    environment = {"REDIS": redis_server.url, "PREFIX": prefix, "WS": ws}
    async with (
        web_process(tmp_path, **environment) as (one, stop_one),
        web_process(tmp_path, **environment) as (two, _),
        RedisPubSubChannelLayer([redis_server.url], prefix=prefix) as layer,
        httpx.AsyncClient(base_url=f"http://{one}", timeout=DEADLINE) as browser,
    ):
        ann, bob = {"Cookie": "user=ann@b.example"}, {"Cookie": "user=bob"}
        assert await refused(f"ws://{one}/desk") == 401
        async with (
            connect(f"ws://{one}/desk?device=a", additional_headers=ann) as phone,
            connect(
                f"ws://{two}/desk?device=b", additional_headers=ann, open_timeout=DEADLINE
            ) as laptop,
            connect(f"ws://{two}/desk?device=b", additional_headers=ann) as other_tab,
            connect(f"ws://{one}/desk?device=b", additional_headers=bob) as stranger,
        ):
            await send_to_user(layer, "ann@b.example", {"type": "note", "text": "hello"})
            for client in (phone, laptop, other_tab):
                assert await client.recv() == '"hello"'
            signed_out = await browser.post("/sign-out?device=b", headers=ann)
            assert signed_out.status_code == 200
            for client in (laptop, other_tab):
                assert await ending(client) == (SIGNED_OUT, "Signed out.")
            await send_to_user(layer, "ann@b.example", {"type": "note", "text": "still here"})
            assert await phone.recv() == '"still here"'
            await stop_one()
            for client in (phone, stranger):
                assert (await ending(client))[0] == 1012
    said = (tmp_path / OUTPUT).read_text()
    released = sorted(line for line in said.split("\n") if line.startswith("released"))
    assert released == ["released ann@b.example"] * 4 + ["released bob"]
    assert "Traceback" not in said
