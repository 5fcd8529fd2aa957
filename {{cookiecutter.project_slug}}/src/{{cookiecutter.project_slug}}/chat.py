"""The chat: one ``ChatConsumer`` for each socket, which may join several rooms and jobs.

Invariants
- Who says something is told by the user's id, which the session gives; no frame can claim another.
- What a room or a job is told is kept in its log and has a position; who is writing is not.
- A socket that cannot keep up is closed: its page comes back with its positions and misses nothing.
"""

import time
import uuid

from starlette.requests import HTTPConnection

from fast_channels.frames import Refused, frame_message, handles, with_fields
from fast_channels.identity import IdentityMixin
from fast_channels.layers import POSITION, channel_layers
from fast_channels.mailbox import Message
from fast_channels.presence import PresenceFull, PresenceMixin
from fast_channels.recovery import RecoveryMixin

from . import jobs
from .auth import User, read_renewal
from .limits import TOO_MANY_ROOMS, PacedConsumer, may_name
from .schemas import (
    KEPT,
    MY_JOBS,
    CancelJob,
    Fleeting,
    Incoming,
    Incomplete,
    JobStarted,
    Join,
    Joined,
    Kept,
    Leave,
    Member,
    Outgoing,
    Ping,
    Present,
    Renew,
    Renewed,
    Said,
    Say,
    StartJob,
    Welcome,
)

MOST_GROUPS = 50  # of one socket
MOST_MEMBERS = 200  # in the answer to a join
FLEETING_SECONDS = 3.0  # between two of a kind from one socket, such as that somebody is writing


async def say(room: str, user: User, text: str, id: str | None = None) -> None:
    """Tell a room, from wherever this is called, what somebody says."""
    said = Said(group=room, id=id or uuid.uuid4().hex, user=user, text=text, at=time.time())
    await channel_layers["default"].group_send(room, frame_message(said))


class ChatConsumer(PresenceMixin, RecoveryMixin, IdentityMixin, PacedConsumer):
    """The chat. ``GET /session`` says who you are; without a session a socket is refused with HTTP 401."""

    incoming = Incoming
    outgoing = Outgoing
    handlers = frozenset({"presence.joined", "presence.left", "presence.updated"})
    channel_layer_alias = "default"
    overflow = "close"
    user: User
    session_expires_at: float

    async def connect(self) -> None:
        self.joined: set[str] = set()
        self.passed_at: dict[str, float] = {}  # type of a frame -> when
        await self.accept()
        await self.send_frame(Welcome(user=self.user, expires_in=self.expires_in))

    @property
    def expires_in(self) -> float:
        return max(self.session_expires_at - time.time(), 0)

    @handles
    async def ping(self, frame: Ping) -> None:
        """Only the answer counts."""

    @handles
    async def renew(self, frame: Renew) -> Renewed:
        session = read_renewal(frame.token)
        if session is None or (session.user.id, session.id) != (self.user.id, self.session):
            raise Refused("This is no renewal of your session.", "no_renewal")
        self.renew_session(session.expires_at)
        return Renewed(expires_in=self.expires_in)

    # Groups

    @handles
    async def enter(self, frame: Join) -> Joined:
        self.check_may_join(frame.group)
        group = self.name_of(frame.group)
        try:
            joined = await self.join(group, since=frame.since, history=frame.history)
            members = await self.be_present(frame.group) if frame.group.startswith("room.") else []
        except Exception:
            if frame.group not in self.joined:
                await self.leave_all_of(frame.group)
            raise
        self.joined.add(frame.group)
        return Joined(
            group=frame.group,
            complete=joined.complete,
            position=joined.position,
            events=self.events(joined.messages),
            members=members[:MOST_MEMBERS],
            member_count=len(members),
        )

    @handles
    async def exit(self, frame: Leave) -> None:
        if frame.group in self.joined:
            self.joined.remove(frame.group)
            await self.leave_all_of(frame.group)

    async def leave_all_of(self, group: str) -> None:
        """Also what a join had done when it failed."""
        await self.leave(self.name_of(group))
        if group.startswith("room."):
            await self.channel_layer.group_discard(f"live.{group}", self.channel_name)
            await self.unwatch(group)
            await self.absent(group)

    def check_may_join(self, group: str) -> None:
        kind, _, name = group.partition(".")
        if group not in self.joined and len(self.joined) >= MOST_GROUPS:
            raise Refused(f"One page may be in {MOST_GROUPS} rooms and jobs.", "too_many")
        if kind == "room" and not may_name(name, HTTPConnection(self.scope)):
            raise Refused(TOO_MANY_ROOMS, "too_many")
        if kind == "job":
            jobs.check_owned(name, self.user.id)

    def name_of(self, group: str) -> str:
        return jobs.list_of(self.user.id) if group == MY_JOBS else group

    async def be_present(self, room: str) -> list[Member]:
        await self.channel_layer.group_add(f"live.{room}", self.channel_name)
        try:
            await self.present(room, self.user.id, {"name": self.user.name})
        except PresenceFull:
            raise Refused("The room is full.", "full") from None
        members = [member(*one) for one in await self.watch(room)]
        return sorted(members, key=lambda one: one.id != self.user.id)  # oneself is never cut off

    def events(self, messages: list[Message]) -> list[Kept]:
        """As they were sent, with their positions; without what only a later version of the app knows."""
        known = [one for one in messages if one.get("frame") in self.declaration.sent_types]
        return KEPT.validate_json(f"[{','.join(map(self.frame_text, known))}]")

    # Rooms

    @handles
    async def say(self, frame: Say) -> None:
        self.check_joined(frame.group)
        await say(frame.group, self.user, frame.text, frame.id)

    @handles
    async def pass_on(self, frame: Fleeting) -> None:
        self.check_joined(frame.group)
        now, before = time.monotonic(), self.passed_at.get(frame.type)
        if before is None or now - before >= FLEETING_SECONDS:
            self.passed_at[frame.type] = now
            event = frame.event(self.user)
            await self.channel_layer.group_send(f"live.{frame.group}", frame_message(event))

    def check_joined(self, group: str) -> None:
        if group not in self.joined:
            raise Refused("Join the room first.", "not_joined")

    # Jobs

    @handles
    async def start_job(self, frame: StartJob) -> JobStarted:
        return await jobs.start(self.user.id, frame.kind, frame.prompt or "")

    @handles
    async def cancel_job(self, frame: CancelJob) -> None:
        await jobs.cancel(self.user.id, frame.job)

    # From the layer

    def frame_text(self, message: Message) -> str:
        text, position = super().frame_text(message), message.get(POSITION)
        return text if position is None else with_fields(text, position=position)

    async def layer_reconnected(self, message: Message) -> None:
        await self.send_frame(Incomplete())

    async def presence_joined(self, message: Message) -> None:
        """Kept by no log: who comes back gets all members anew."""
        group, key = message["group"], message["key"]
        if group in self.joined:
            left = [key] if message["type"] == "presence.left" else []
            joined = [] if left else [member(key, message["info"], message["connections"])]
            count = message["members"]
            await self.send_frame(Present(group=group, joined=joined, left=left, count=count))

    presence_updated = presence_left = presence_joined


def member(key: str, info: Message, connections: int) -> Member:
    return Member(id=key, name=info["name"], connections=connections)
