"""The ASGI app: the page, the sockets under /ws, and HTTP endpoints that publish into rooms."""

import html
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from string import Template
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, HTTPException, Path as PathParameter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.routing import WebSocketRoute

from fast_channels.exceptions import ChannelLayerUnavailable
from fast_channels.layers import channel_layers, is_ready, open_layers
from fast_channels.middleware import BodyLimit, OriginValidator

from .chat import ChatConsumer, say
from .jobs import make_worker
from .layers import make_layers
from .limits import ROOM_WINDOW, TOO_MANY_ROOMS, may_name
from .logs import set_up_logging
from .schemas import Refusal, Room, RoomMessage, describe
from .settings import get_settings, web_processes

logger = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


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
    async with open_layers(make_layers()), make_worker() if works else nullcontext():
        yield


def say_in_memory() -> None:
    if (number := web_processes()) > 1:
        logger.warning(
            "REDIS_URL is not set: each of %d web processes has rooms of its own, in memory", number
        )
    else:
        logger.info("REDIS_URL is not set: rooms and jobs are in memory, for one process only")


sockets = APIRouter()
sockets.routes.append(WebSocketRoute("/chat/{room}", ChatConsumer.as_asgi()))

app = FastAPI(title=get_settings().app_name, lifespan=lifespan)
app.add_middleware(BodyLimit, max_bytes=get_settings().max_body_bytes)
app.mount("/ws", OriginValidator(sockets, get_settings().allowed_origins))
app.mount("/static", RevalidatedFiles(directory=STATIC), name="static")


@app.exception_handler(RequestValidationError)
async def refused(request: Request, error: RequestValidationError) -> JSONResponse:
    """One sentence, without what came: that may be unfit for JSON, or a secret."""
    return JSONResponse({"detail": describe(error.errors())}, status_code=422)


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


@app.post(
    "/rooms/{room}/messages",
    status_code=202,
    responses={status: {"model": Refusal} for status in (422, 429)},
)
async def publish(
    request: Request, room: Annotated[Room, PathParameter()], message: RoomMessage
) -> dict[str, str]:
    """Say something in a room from outside a socket."""
    if not may_name(room, request):
        raise HTTPException(429, TOO_MANY_ROOMS, {"Retry-After": str(int(ROOM_WINDOW))})
    await say(room, message.name, message.text)
    return {"status": "accepted"}


@app.get("/health/live")
async def live() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/health/ready")
async def ready(response: Response) -> dict[str, str]:
    if await is_ready(channel_layers[alias] for alias in channel_layers.list_aliases()):
        return {"status": "ok"}
    response.status_code = 503
    return {"status": "unavailable"}
