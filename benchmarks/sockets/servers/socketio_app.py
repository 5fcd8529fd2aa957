"""python-socketio: the room is in the query, messages are events, the rest is as elsewhere."""

from typing import Any
from urllib.parse import parse_qs

import socketio

from . import order

# Only the WebSocket transport is used; see client/dialects.py for what is spoken on it.
sio = socketio.AsyncServer(
    async_mode="asgi",
    client_manager=socketio.AsyncRedisManager(order.REDIS) if order.KIND == "pubsub" else None,
    transports=["websocket"],
)
rooms: dict[str, str] = {}


@sio.event
async def connect(sid: str, environ: dict[str, Any]) -> None:
    if room := parse_qs(environ["QUERY_STRING"]).get("room"):
        rooms[sid] = room[0]
        await sio.enter_room(sid, room[0])
    await sio.emit("message", "joined", to=sid)


@sio.event
async def message(sid: str, content: Any) -> None:
    await sio.emit("message", content, room=rooms[sid])


@sio.event
async def echo(sid: str, content: Any) -> None:
    await sio.emit("message", content, to=sid)


@sio.event
async def disconnect(sid: str, reason: str) -> None:
    rooms.pop(sid, None)


app = socketio.ASGIApp(sio)
