"""The app's own scenes of `make drops`: signed in, through `/ws/chat`, behind a tunnel, with a worker.

All clients are devices of one user, in a room and in a job of that user: so presence counts them, and the job
tells each of them its steps. The room is told by `POST /rooms/{room}/messages`. With Redis there are two web
processes behind the tunnel, which leads to the first one that answers, and a worker.
"""

import asyncio
import json
import random
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin

from {{ cookiecutter.project_slug }} import jobs, layers

from ..fast_channels.faults.drops import (
    SCENES,
    Caught,
    Line,
    NotJoined,
    Scene,
    main,
)
from .broker import Broker
from .processes import AppProcess, Processes, WebProcess, WorkerProcess
from .tunnel import Tunnel
from .visitors import PATIENCE, SOCKET, Frame, http_to, sign_in, visit_server

STEP_SECONDS = 0.5  # of the job
STEPS = len(jobs.STEPS) * jobs.TURNS
HISTORY = 1000  # for a newcomer


class AppLine:
    """What a page does: asks, and keeps what comes beside the answer."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._kept: list[Frame] = []

    async def join(self, group: str, since: str | None) -> Caught:
        more = {"history": HISTORY} if since is None else {"since": since}
        await self._socket.send(json.dumps({"type": "join", "group": group, "id": "join", **more}))
        while (frame := await self._receive()).get("reply_to") != "join":
            self._kept.append(frame)
        if frame["type"] == "error":
            raise NotJoined(frame["detail"])
        numbers = [number for event in frame["events"] if (number := number_of(event)) is not None]
        return Caught(numbers, frame["position"], frame["complete"])

    async def hear(self) -> tuple[str, int, str] | None:
        frame = self._kept.pop(0) if self._kept else await self._receive()
        if frame["type"] == "incomplete":
            raise NotJoined("What was missed comes by a new joining")
        number = number_of(frame)
        return None if number is None else (frame["group"], number, frame.get("position", ""))

    def cut(self) -> None:
        self._socket.transport.abort()

    async def _receive(self) -> Frame:
        frame: Frame = json.loads(await self._socket.recv())
        return frame


def number_of(event: Frame) -> int | None:
    if event["type"] == "said":
        return int(event["text"])
    return int(event["done"]) if event["type"] == "job_progress" else None


class AppScene:
    """`processes` are all of them, `web` those behind the tunnel at `url`."""

    def __init__(
        self, url: str, web: Sequence[WebProcess], processes: Sequence[AppProcess], cookie: str
    ) -> None:
        self.sent: dict[str, set[int]] = {}
        self._url = url
        self._web = web
        self._processes = processes
        self._cookie = cookie
        self._http = http_to(url)
        self._room = uuid.uuid4().hex
        self._errors_before = self._tracebacks()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["AppScene"]:
        """With a job under way."""
        async with self._http, visit_server(self._url, cookie=self._cookie) as visitor:
            started = await visitor.ask("start_job", kind="steps")
            self.sent = {f"room.{self._room}": set(), started["group"]: {*range(1, STEPS + 1)}}
            yield self

    @asynccontextmanager
    async def connect(self, chance: random.Random) -> AsyncIterator[Line]:
        async with connect(
            self._url.replace("http", "ws", 1) + SOCKET,
            origin=Origin(self._url),
            additional_headers={"cookie": self._cookie},
            proxy=None,
            compression=None,
            ping_interval=None,
            open_timeout=PATIENCE,
        ) as socket:
            yield AppLine(socket)

    async def say(self, number: int) -> None:
        path, headers = f"/rooms/{self._room}/messages", {"cookie": self._cookie}
        try:
            answer = await self._http.post(path, json={"text": str(number)}, headers=headers)
        except httpx.TransportError:  # nobody knows whether it was said
            return
        if answer.status_code == httpx.codes.ACCEPTED:
            self.sent[f"room.{self._room}"].add(number)

    async def restart(self, pause: float) -> int:
        others = self._web if len(self._web) > 1 else ()
        for process in others:
            await asyncio.to_thread(process.stop)
            await asyncio.to_thread(process.start)
            await asyncio.sleep(pause)
        return len(others)

    @property
    def errors(self) -> int:
        return self._tracebacks() - self._errors_before

    def _tracebacks(self) -> int:
        return sum(one.log.count("Traceback (most recent call last)") for one in self._processes)


@asynccontextmanager
async def app_scene(
    web: Sequence[WebProcess], processes: Sequence[AppProcess]
) -> AsyncIterator[Scene]:
    """Of processes that run."""
    with Tunnel(*(one.port for one in web)) as tunnel:
        async with http_to(tunnel.url) as client:
            cookie = await sign_in(client, "Ada")
        async with AppScene(tunnel.url, web, processes, cookie).opened() as scene:
            yield scene


@asynccontextmanager
async def started_scene(*, in_memory: bool) -> AsyncIterator[Scene]:
    """With processes of its own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        settings = {"SECRET_KEY": uuid.uuid4().hex, "JOB_STEP_SECONDS": str(STEP_SECONDS)}
        if in_memory:
            web = [stack.enter_context(WebProcess(folder, settings))]
            scene = app_scene(web, web)
        else:
            settings["REDIS_URL"] = stack.enter_context(Broker()).url
            a, b = (WebProcess(folder, settings) for _ in range(2))
            processes = Processes(a, b, WorkerProcess(folder, settings))
            for process in processes.all():
                stack.callback(process.kill)
            processes.start()
            scene = app_scene([a, b], processes.all())
        async with scene as opened:
            yield opened


# Whether what was missed is kept in Redis: with pub/sub there is nothing to count.
KEPT = not hasattr(layers, "RedisPubSubChannelLayer")
APP_SCENES = {"app-memory": partial(started_scene, in_memory=True)}
if KEPT:
    APP_SCENES["app"] = partial(started_scene, in_memory=False)

if __name__ == "__main__":
    sys.exit(main({**SCENES, **APP_SCENES}))
