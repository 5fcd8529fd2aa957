"""The ASGI app: the page, the socket /ws/chat, and rooms over HTTP."""

import html
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from string import Template
from typing import Annotated, Any

from fastapi import (
    APIRouter,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Path as PathParameter,
    Request,
    Response,
    WebSocket,
)
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from fast_channels.exceptions import ChannelLayerUnavailable
from fast_channels.frames import AsyncAPI, describe
from fast_channels.identity import session_end
from fast_channels.layers import channel_layers, is_ready, open_layers
from fast_channels.mailbox import Message
from fast_channels.middleware import BodyLimit, OriginValidator
from fast_channels.presence import Presence
from fast_channels.sse import group_events

from . import auth
from .auth import CurrentSession, CurrentUser, Sessions, signed_session
from .chat import ChatConsumer, say
from .jobs import make_worker
from .layers import make_layers
from .limits import ROOM_WINDOW, TOO_MANY_ROOMS, may_name
from .logs import set_up_logging
from .schemas import Room
from .settings import get_settings, web_processes
from .visible import Text

logger = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class RoomMessage(BaseModel):
    """What is said in a room over HTTP."""

    text: Text


class Refusal(BaseModel):
    """Why a request was refused, in one sentence."""

    detail: str


class RevalidatedFiles(StaticFiles):
    """Asks browsers to check for a newer file, so that no page mixes modules of two versions."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings = get_settings()
    set_up_logging(settings.log_level)
    if not settings.redis_url:
        say_in_memory()
    works = settings.run_worker or not settings.redis_url
    if settings.secret_key is None:
        logger.warning(
            "SECRET_KEY is not set: a restart signs everybody out, and so does another process"
        )
    async with (
        open_layers(make_layers()),
        Presence(channel_layers["default"]),
        make_worker() if works else nullcontext(),
    ):
        yield


def say_in_memory() -> None:
    if (number := web_processes()) > 1:
        logger.warning(
            "REDIS_URL is not set: each of %d web processes has rooms of its own, in memory", number
        )
    else:
        logger.info("REDIS_URL is not set: rooms and jobs are in memory, for one process only")


sockets = APIRouter()


@sockets.websocket("/chat")
async def chat(websocket: WebSocket, session: CurrentSession) -> None:
    await ChatConsumer.serve(
        websocket, user=session.user, session=session.id, session_expires_at=session.expires_at
    )


app = FastAPI(title=get_settings().app_name, lifespan=lifespan)
app.add_middleware(Sessions)
app.add_middleware(BodyLimit, max_bytes=get_settings().max_body_bytes)
app.include_router(auth.router)
app.mount("/ws", OriginValidator(sockets, get_settings().allowed_origins))
app.mount("/static", RevalidatedFiles(directory=STATIC), name="static")
AsyncAPI(app.title, app.version, {"/ws/chat": ChatConsumer}).serve(app)


@app.exception_handler(RequestValidationError)
async def refused(request: Request, error: RequestValidationError) -> JSONResponse:
    """One sentence, without what came: that may be unfit for JSON, or a secret."""
    problems = [{**one, "loc": one["loc"][1:] or one["loc"]} for one in error.errors()]
    return JSONResponse({"detail": describe(problems)}, status_code=422)


@app.exception_handler(ChannelLayerUnavailable)
async def cut_off(request: Request, error: ChannelLayerUnavailable) -> JSONResponse:
    logger.warning("%s %s: %s", request.method, request.url.path, error)
    return JSONResponse({"status": "unavailable"}, status_code=503, headers={"Retry-After": "1"})


@app.get("/", include_in_schema=False)
def page() -> HTMLResponse:
    """The page, under the name that the web app manifest gives it."""
    name = json.loads((STATIC / "app.webmanifest").read_text(encoding="utf-8"))["name"]
    text = Template((STATIC / "index.html").read_text(encoding="utf-8"))
    return HTMLResponse(text.safe_substitute(name=html.escape(name)), headers=PAGE_HEADERS)


def room_group(request: Request, room: Annotated[Room, PathParameter()]) -> str:
    """429 if the client's address has named too many rooms."""
    if not may_name(room, request):
        raise HTTPException(429, TOO_MANY_ROOMS, {"Retry-After": str(int(ROOM_WINDOW))})
    return f"room.{room}"


RoomGroup = Annotated[str, Depends(room_group)]
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal} for status in (401, 422, 429)
}


@app.post("/rooms/{room}/messages", status_code=202, responses=REFUSALS)
async def publish(user: CurrentUser, group: RoomGroup, message: RoomMessage) -> dict[str, str]:
    """Say something in a room from outside a socket."""
    await say(group, user, message.text)
    return {"status": "accepted"}


@app.get("/rooms/{room}/events", response_class=EventSourceResponse, responses=REFUSALS)
async def events(
    request: Request,
    session: CurrentSession,
    group: RoomGroup,
    last_event_id: Annotated[str | None, Header()] = None,
) -> AsyncIterator[ServerSentEvent]:
    """What a room is told, as server-sent events: its last 50 messages, then what comes.

    The stream ends with the session.
    """
    layer = channel_layers["default"]
    user, until = session.user.id, session.expires_at
    async with session_end(layer, user, session=session.id, expires_at=until) as ended:
        if await signed_session(request) is None:  # signed out before the end was listened for
            return
        async for event in group_events(
            layer, group, last_event_id, history=50, data=frame_of, until=ended
        ):
            yield event


def frame_of(message: Message) -> Any:
    return json.loads(message["text"])


@app.get("/health/live")
async def live() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/health/ready")
async def ready(response: Response) -> dict[str, str]:
    if await is_ready(channel_layers[alias] for alias in channel_layers.list_aliases()):
        return {"status": "ok"}
    response.status_code = 503
    return {"status": "unavailable"}
