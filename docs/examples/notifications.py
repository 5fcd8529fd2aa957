"""Notifications: what a user is told on all devices, on a socket of its own. ``notify`` is for any code."""

import time
from typing import Literal

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel

from fast_channels.frames import frame_message, handles
from fast_channels.identity import IdentityMixin, user_group
from fast_channels.layers import channel_layers

from .auth import CurrentSession, CurrentUser, User
from .limits import PacedConsumer
from .schemas import Ping, Welcome
from .visible import Text


class Notification(BaseModel):
    type: Literal["notification"] = "notification"
    text: str
    at: float


class NotificationConsumer(IdentityMixin, PacedConsumer):
    """What the user of the session is told; a client can only ask whether the line is alive."""

    incoming = Ping
    outgoing = Welcome | Notification
    channel_layer_alias = "default"
    user: User
    session_expires_at: float

    async def connect(self) -> None:
        await self.channel_layer.group_add(group_of(self.user.id), self.channel_name)
        await self.accept()
        expires_in = self.session_expires_at - time.time()
        await self.send_frame(Welcome(user=self.user, expires_in=max(expires_in, 0)))

    @handles
    async def ping(self, frame: Ping) -> None:
        """Only the answer counts."""


def group_of(user_id: str) -> str:
    """Not ``user_group`` itself: the user's chat is in there, too, and knows no such frame."""
    return f"notifications.{user_group(user_id)}"


async def notify(user_id: str, text: str) -> None:
    """From an endpoint, a job, a script: whatever has the app's layers open."""
    told = Notification(text=text, at=time.time())
    await channel_layers["default"].group_send(group_of(user_id), frame_message(told))


sockets = APIRouter()
router = APIRouter()


@sockets.websocket("/notifications")
async def notifications(websocket: WebSocket, session: CurrentSession) -> None:
    await NotificationConsumer.serve(
        websocket, user=session.user, session=session.id, session_expires_at=session.expires_at
    )


class ForMyDevices(BaseModel):
    text: Text


@router.post("/notifications", status_code=202)
async def send_to_my_devices(user: CurrentUser, body: ForMyDevices) -> dict[str, str]:
    """Such as a link, from this device to the others; to oneself alone."""
    await notify(user.id, body.text)
    return {"status": "accepted"}
