"""Users: dependencies before the accept, a message to a user, the end of a session."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, WebSocket
from fastapi.testclient import TestClient
from starlette.requests import HTTPConnection

from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.identity import (
    SESSION_EXPIRED,
    SIGNED_OUT,
    IdentityMixin,
    close_user,
    send_to_user,
)
from fast_channels.layers import (
    InMemoryChannelLayer,
    get_channel_layer,
    register_channel_layer,
    unregister_channel_layer,
)
from fast_channels.testing import ConnectionRefused, WebsocketCommunicator


@dataclass
class Session:
    """Stands in for what an app keeps of a signed-in user."""

    id: str
    user_id: str
    expires_at: float


SESSIONS: dict[str, Session] = {}


# dependency
async def current_session(connection: HTTPConnection) -> Session:
    """For HTTP endpoints and for sockets: who it is, or HTTP 401."""
    session = SESSIONS.get(connection.cookies.get("session", ""))
    if session is None:
        raise HTTPException(401, "Sign in first.")
    return session


CurrentSession = Annotated[Session, Depends(current_session)]
router = APIRouter()


# consumer
class RoomConsumer(IdentityMixin, AsyncJsonWebsocketConsumer):
    room: str

    async def connect(self) -> None:
        await self.channel_layer.group_add(f"room.{self.room}", self.channel_name)
        await self.accept()
        await self.send_json({"hello": self.user})

    async def order_shipped(self, message: dict[str, Any]) -> None:
        await self.send_json({"shipped": message["order"]})


@router.websocket("/rooms/{room}")
async def enter(websocket: WebSocket, room: str, session: CurrentSession) -> None:
    await RoomConsumer.serve(
        websocket,
        room=room,
        user=session.user_id,
        session=session.id,
        session_expires_at=session.expires_at,
    )


# anywhere
@router.post("/orders/{order}/shipped")
async def shipped(order: int, to: str) -> None:
    await send_to_user(get_channel_layer(), to, {"type": "order.shipped", "order": order})


@router.post("/sign-out")
async def sign_out(session: CurrentSession, everywhere: bool = False) -> None:
    """This device, or all of them: first no new socket, then the open ones."""
    for other in [one for one in SESSIONS.values() if one.user_id == session.user_id]:
        if everywhere or other is session:
            del SESSIONS[other.id]
    only = None if everywhere else session.id
    await close_user(get_channel_layer(), session.user_id, reason="You signed out.", session=only)


# renewal
class LastingConsumer(RoomConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """The page has a new session, whose id it sends before the old one ends."""
        session = SESSIONS.get(content["renew"])
        if session is not None and session.user_id == self.user:
            self.session = session.id
            self.renew_session(session.expires_at)
            await self.send_json({"renewed": session.expires_at})


# end
app = FastAPI()
app.include_router(router)


@app.websocket("/lasting")
async def lasting(websocket: WebSocket, session: CurrentSession) -> None:
    user, until = session.user_id, session.expires_at
    await LastingConsumer.serve(
        websocket, room="lasting", user=user, session=session.id, session_expires_at=until
    )


@pytest.fixture(autouse=True)
async def layer() -> AsyncIterator[None]:
    SESSIONS.clear()
    for device, user, seconds in (("phone", "ann", 3600), ("laptop", "ann", 3600), ("b", "bob", 2)):
        SESSIONS[device] = Session(device, user, time.time() + seconds)
    async with InMemoryChannelLayer() as layer:
        register_channel_layer("default", layer)
        yield
    unregister_channel_layer("default")


def page(session: str, path: str = "/rooms/lobby") -> WebsocketCommunicator:
    return WebsocketCommunicator(app, path, headers={"cookie": f"session={session}"})


def post(path: str, session: str = "") -> int:
    return TestClient(app, cookies={"session": session}).post(path).status_code


async def test_who_it_is_comes_from_a_dependency() -> None:
    """Without a session the handshake is answered with 401."""
    async with page("phone") as client:
        assert await client.receive_json_from() == {"hello": "ann"}
    with pytest.raises(ConnectionRefused, match="code 401"):
        async with page("nobody"):
            pass


async def test_endpoints_reach_a_user_and_sign_out() -> None:
    """A message reaches both devices, a sign-out one of them, and then all."""
    async with page("phone") as phone, page("laptop") as laptop:
        for client in (phone, laptop):
            await client.receive_json_from()
        layer = get_channel_layer()
        await shipped(7, "ann")
        for client in (phone, laptop):
            assert await client.receive_json_from() == {"shipped": 7}
        await sign_out(SESSIONS["phone"])
        closed = await phone.receive_output()
        assert (closed["code"], closed["reason"]) == (SIGNED_OUT, "You signed out.")
        await send_to_user(layer, "ann", {"type": "order.shipped", "order": 8})
        assert await laptop.receive_json_from() == {"shipped": 8}
        await sign_out(SESSIONS["laptop"], everywhere=True)
        assert (await laptop.receive_output())["code"] == SIGNED_OUT
    assert list(SESSIONS) == ["b"]


async def test_a_session_ends_or_is_renewed() -> None:
    """The one that was renewed outlives the first one's time."""
    async with page("b", "/lasting") as renewed, page("b") as client:
        for one in (client, renewed):
            assert await one.receive_json_from() == {"hello": "bob"}
        SESSIONS["c"] = Session("c", "bob", time.time() + 3600)
        await renewed.send_json_to({"renew": "c"})
        assert "renewed" in await renewed.receive_json_from()
        assert (await client.receive_output(timeout=10))["code"] == SESSION_EXPIRED
        await shipped(9, "bob")
        assert await renewed.receive_json_from() == {"shipped": 9}


def test_an_endpoint_knows_the_same_users() -> None:
    """By the same dependency."""
    assert post("/sign-out", "nobody") == 401
