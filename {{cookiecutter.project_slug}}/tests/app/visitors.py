"""People in front of a page: through a communicator in this process, or through a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin

from fast_channels.layers import RedisPubSubChannelLayer, channel_layers
from fast_channels.testing import WebsocketCommunicator
from fast_channels.type_defs import Application

HOST = "chat.example"
PATIENCE = 20.0  # seconds; more than anything here takes on a busy machine
SOCKET = "/ws/chat"

followed: set[str] = set()  # jobs whose group a visitor has joined

Frame = dict[str, Any]


class Line(Protocol):
    async def send_json_to(self, data: Any) -> None: ...

    async def receive_json_from(self, timeout: float) -> Any: ...


class RemoteLine:
    """A communicator's methods on a real socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send_json_to(self, data: Any) -> None:
        await self.socket.send(json.dumps(data))

    async def receive_json_from(self, timeout: float) -> Any:
        async with asyncio.timeout(timeout):
            return json.loads(await self.socket.recv(decode=True))


class Visitor:
    """Asks, and keeps what comes beside the answers until it is looked for."""

    def __init__(self, line: Line, cookie: str) -> None:
        self.line = line
        self.cookie = cookie  # another device of the same user comes with it, too
        self.user: dict[str, str] = {}
        self._kept: list[Frame] = []
        self._asked = 0

    async def tell(self, kind: str, /, **fields: Any) -> None:
        await self.line.send_json_to({"type": kind, **fields})

    async def ask(self, kind: str, /, **fields: Any) -> Frame:
        """The answer; `id` may be one of the fields."""
        self._asked += 1
        asked = fields.setdefault("id", f"q{self._asked}")
        await self.tell(kind, **fields)
        while (frame := await self.line.receive_json_from(PATIENCE)).get("reply_to") != asked:
            self._kept.append(frame)
        answer: Frame = frame
        return answer

    async def receive(self, kind: str, patience: float = PATIENCE) -> Frame:
        """The next frame of type `kind`; what comes before it is skipped."""
        return (await self.receive_until(kind, patience))[-1]

    async def receive_until(self, kind: str, patience: float = PATIENCE) -> list[Frame]:
        """What arrives up to the first frame of type `kind`; that is the last of the list."""
        frames: list[Frame] = []
        async with asyncio.timeout(patience):
            while not frames or frames[-1]["type"] != kind:
                frames.append(await self._next(patience + PATIENCE))
        return frames

    async def is_told_no(self, kind: str, seconds: float = 0.2) -> bool:
        """Whether none of type `kind` is there, or comes within the time."""
        try:
            await self.receive(kind, seconds)
        except TimeoutError:
            return True
        return False

    async def _next(self, patience: float) -> Frame:
        if self._kept:
            return self._kept.pop(0)
        frame: Frame = await self.line.receive_json_from(patience)
        return frame

    # What a page does

    async def is_welcomed(self) -> None:
        self.user = (await self.receive("welcome"))["user"]

    async def enter(self, room: str, **since: Any) -> Frame:
        joined = await self.ask("join", group=f"room.{room}", **since)
        assert joined["type"] == "joined", joined
        return joined

    async def say(self, room: str, text: str, **more: Any) -> Frame:
        return await self.ask("say", group=f"room.{room}", text=text, **more)

    async def start(self, kind: str, **more: Any) -> Frame:
        """A job, whose group is joined at once; what it has said before that is received like the rest."""
        started = await self.ask("start_job", kind=kind, **more)
        assert started["type"] == "job_started", started
        self._kept += (await self.follow(started["job"]))["events"]
        return started

    async def follow(self, job: str, **since: Any) -> Frame:
        joined = await self.ask("join", group=f"job.{job}", **{"history": 1000, **since})
        followed.add(job)
        return joined


async def sign_in(client: httpx.AsyncClient, name: str) -> str:
    """The cookie, which the client keeps too."""
    response = await client.post("/session", json={"name": name})
    assert response.status_code == 200, response.text
    return f"session={client.cookies['session']}"


def in_process(app: Application, scheme: str = "http") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url=f"{scheme}://{HOST}")


def communicator(
    app: Application, cookie: str = "", origin: str = f"http://{HOST}"
) -> WebsocketCommunicator:
    """Not connected yet; as from a page of the app's own host."""
    headers = {"host": HOST, "origin": origin} | ({"cookie": cookie} if cookie else {})
    return WebsocketCommunicator(app, SOCKET, headers)


@asynccontextmanager
async def visit(
    app: Application, room: str = "", name: str = "Ada", *, cookie: str = "", host: str = ""
) -> AsyncIterator[Visitor]:
    """Someone who has signed in, or comes with a cookie, and is in `room` if there is one."""
    if not cookie:
        async with in_process(app) as client:
            cookie = await sign_in(client, name)
    line = communicator(app, cookie)
    if host:
        line.scope["client"] = (host, 5000)
    try:
        assert await line.connect(PATIENCE) == (True, None)
        visitor = Visitor(line, cookie)
        await visitor.is_welcomed()
        if room:
            await visitor.enter(room)
        yield visitor
        await line.disconnect(timeout=PATIENCE)
    finally:
        await line.stop(exceptions=False)


async def receive_close(visitor: Visitor) -> Frame:
    """How the server closes a communicator's socket; frames before that are skipped."""
    assert isinstance(visitor.line, WebsocketCommunicator)
    while (event := await visitor.line.receive_output(PATIENCE))["type"] != "websocket.close":
        pass
    return dict(event)


def http_to(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE)


@asynccontextmanager
async def visit_server(
    url: str, room: str = "", name: str = "Ada", *, cookie: str = "", origin: str | None = None
) -> AsyncIterator[Visitor]:
    """As `visit`, through the server at `url`; with its own page."""
    if not cookie:
        async with http_to(url) as client:
            cookie = await sign_in(client, name)
    async with connect(
        url.replace("http", "ws", 1) + SOCKET,
        origin=Origin(origin or url),
        additional_headers={"cookie": cookie},
        proxy=None,
        open_timeout=PATIENCE,
    ) as socket:
        visitor = Visitor(RemoteLine(socket), cookie)
        await visitor.is_welcomed()
        if room:
            await visitor.enter(room)
        yield visitor


async def close_code(visitor: Visitor) -> int | None:
    """The code with which the server closes a real socket."""
    assert isinstance(visitor.line, RemoteLine)
    async with asyncio.timeout(PATIENCE):
        await visitor.line.socket.wait_closed()
    return visitor.line.socket.close_code


def keeps_history() -> bool:
    """Whether the app's layer keeps what was said for those who come later."""
    return not isinstance(channel_layers["default"], RedisPubSubChannelLayer)


def text_of(events: list[Frame]) -> str:
    """What the job's output is, put together."""
    return "".join(event["text"] for event in events if event["type"] == "job_output")
