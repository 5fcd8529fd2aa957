"""People in a chat room: through a communicator in this process, or through a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin

from fast_channels.testing import WebsocketCommunicator
from fast_channels.type_defs import Application

HOST = "chat.example"
PATIENCE = 20.0  # seconds; more than anything here takes on a busy machine

Frame = dict[str, Any]


class Visitor(Protocol):
    async def send_json_to(self, data: Any) -> None: ...

    async def receive_json_from(self, timeout: float) -> Any: ...


def chat_path(room: str, name: str) -> str:
    return f"/ws/chat/{quote(room, safe='')}?name={quote(name, safe='')}"


def communicator(
    app: Application, room: str, name: str, origin: str = f"http://{HOST}"
) -> WebsocketCommunicator:
    """Not connected yet; as from a page of the app's own host."""
    headers = {"host": HOST, "origin": origin}
    return WebsocketCommunicator(app, chat_path(room, name), headers)


@asynccontextmanager
async def visit(app: Application, room: str, name: str) -> AsyncIterator[WebsocketCommunicator]:
    """Someone in `room`, welcomed and announced, through a communicator."""
    visitor = communicator(app, room, name)
    try:
        assert await visitor.connect(PATIENCE) == (True, None)
        await enter(visitor, room, name)
        yield visitor
        await visitor.disconnect(timeout=PATIENCE)
    finally:
        await visitor.stop(exceptions=False)


async def enter(visitor: Visitor, room: str, name: str) -> str:
    """The id that the server gave to the connection."""
    welcome = await visitor.receive_json_from(PATIENCE)
    client: str = welcome["client"]
    assert welcome == {"type": "welcome", "room": room, "name": name, "client": client}
    joined = {"type": "joined", "name": name, "client": client}
    assert await visitor.receive_json_from(PATIENCE) == joined
    return client


class RemoteVisitor:
    """A communicator's methods on a real socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send_json_to(self, data: Any) -> None:
        await self.socket.send(json.dumps(data))

    async def receive_json_from(self, timeout: float) -> Any:
        async with asyncio.timeout(timeout):
            return json.loads(await self.socket.recv(decode=True))

    async def receive_nothing(self, timeout: float) -> bool:
        """Whether nothing comes for `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self.socket.recv()
        except TimeoutError:
            return True
        return False

    async def close_code(self) -> int | None:
        """The code with which the server closes."""
        async with asyncio.timeout(PATIENCE):
            await self.socket.wait_closed()
        return self.socket.close_code


@asynccontextmanager
async def visit_server(
    url: str, room: str, name: str, origin: str | None = None
) -> AsyncIterator[RemoteVisitor]:
    """Someone in `room`, welcomed and announced, through the server at `url`; with its own page."""
    address = url.replace("http", "ws", 1) + chat_path(room, name)
    page = Origin(origin or url)
    async with connect(address, origin=page, proxy=None, open_timeout=PATIENCE) as socket:
        visitor = RemoteVisitor(socket)
        await enter(visitor, room, name)
        yield visitor


async def receive_until(visitor: Visitor, kind: str, patience: float = PATIENCE) -> list[Frame]:
    """What arrives up to the first frame of type `kind`; that is the last of the list."""
    frames: list[Frame] = []
    async with asyncio.timeout(patience):
        while not frames or frames[-1]["type"] != kind:
            frames.append(await visitor.receive_json_from(patience))
    return frames


async def receive(visitor: Visitor, kind: str, patience: float = PATIENCE) -> Frame:
    """The next frame of type `kind`; what comes before it is skipped."""
    return (await receive_until(visitor, kind, patience))[-1]


async def until_the_worker_reports(visitor: Visitor) -> None:
    """The job that was asked for runs; the first report, 0, comes from the web process."""
    while (await receive(visitor, "job.progress"))["done"] < 1:
        pass
