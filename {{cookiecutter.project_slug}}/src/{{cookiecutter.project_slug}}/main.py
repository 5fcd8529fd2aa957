"""The ASGI app: the page, the sockets under /ws, and HTTP endpoints that publish into rooms."""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Path as PathParameter, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

from fast_channels.exceptions import ChannelLayerUnavailable
from fast_channels.layers import channel_layers
from fast_channels.middleware import BodyLimit, OriginValidator

from .consumers import ChatConsumer, from_outside
from .health import is_ready
from .layers import register_layers
from .protocol import Room, RoomMessage, group_of
from .settings import get_settings
from .worker import make_worker

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
    logging.basicConfig(level=settings.log_level)
    async with AsyncExitStack() as stack:
        for layer in register_layers(settings):
            await stack.enter_async_context(layer)
        if not settings.redis_url:
            await stack.enter_async_context(make_worker(settings))
        yield


sockets = Starlette(routes=[WebSocketRoute("/chat/{room}", ChatConsumer.as_asgi())])

app = FastAPI(title=get_settings().app_name, lifespan=lifespan)
app.add_middleware(BodyLimit, max_bytes=get_settings().max_body_bytes)
app.mount("/ws", OriginValidator(sockets, get_settings().allowed_origins))
app.mount("/static", RevalidatedFiles(directory=STATIC), name="static")


@app.exception_handler(ChannelLayerUnavailable)
async def cut_off(request: Request, error: ChannelLayerUnavailable) -> JSONResponse:
    logger.warning("%s %s: %s", request.method, request.url.path, error)
    return JSONResponse({"status": "unavailable"}, status_code=503, headers={"Retry-After": "1"})


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(STATIC / "index.html", headers=PAGE_HEADERS)


@app.post("/rooms/{room}/messages", status_code=202)
async def publish(room: Annotated[Room, PathParameter()], message: RoomMessage) -> dict[str, str]:
    """Say something in a room from outside a socket."""
    await channel_layers["default"].group_send(group_of(room), from_outside(message))
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
