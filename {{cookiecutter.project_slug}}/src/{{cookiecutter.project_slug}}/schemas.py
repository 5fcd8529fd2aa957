"""The frames of the socket: what the page sends, and what it gets.

A new kind of frame is a class here, in one of the unions at the end, and a method of ``ChatConsumer``;
what is only for those who are in the room now is two classes here, of which ``Fleeting`` names one.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter

from fast_channels.frames import Frame

from .auth import User
from .visible import Text

ROOM = "[A-Za-z0-9_-]{1,50}"
JOB = "[A-Za-z0-9_-]{1,60}"
MY_JOBS = "jobs.me"

Room = Annotated[str, Field(pattern=f"^{ROOM}$", description="1 to 50 letters, digits, - or _")]
RoomGroup = Annotated[str, Field(pattern=rf"^room\.{ROOM}$", description="room.<name of the room>")]
Group = Annotated[str, Field(pattern=rf"^(room\.{ROOM}|job\.{JOB}|jobs\.me)$")]
Kind = Annotated[str, Field(pattern="^[a-z_]{1,30}$", description="one of jobs.KINDS")]
JobState = Literal["done", "failed", "cancelled"]

# What the page sends


class Join(Frame):
    """Get the events of a group, and those after a position, or the last ones."""

    type: Literal["join"] = "join"
    group: Group
    since: str | None = Field(default=None, max_length=100, description="The last position.")
    history: int = Field(default=0, ge=0, le=1000, description="How many events a newcomer wants.")


class Leave(Frame):
    type: Literal["leave"] = "leave"
    group: Group


class Say(Frame):
    """Its ``id`` becomes the message's."""

    type: Literal["say"] = "say"
    group: RoomGroup
    text: Text


class Type(Frame):
    """The user is writing."""

    type: Literal["typing"] = "typing"
    group: RoomGroup

    def event(self, user: User) -> "Event":
        return Typing(group=self.group, user=user)


class StartJob(Frame):
    type: Literal["start_job"] = "start_job"
    kind: Kind
    prompt: Text | None = None


class CancelJob(Frame):
    type: Literal["cancel_job"] = "cancel_job"
    job: str = Field(pattern=f"^{JOB}$")


class Renew(Frame):
    """The page has renewed its session over HTTP."""

    type: Literal["renew"] = "renew"
    token: str = Field(max_length=2000, description="The renewal of POST /session.")


class Ping(Frame):
    type: Literal["ping"] = "ping"


# What the page gets


class Welcome(BaseModel):
    type: Literal["welcome"] = "welcome"
    user: User
    expires_in: float = Field(description="Seconds until the session ends.")


class Renewed(BaseModel):
    type: Literal["renewed"] = "renewed"
    expires_in: float


class Member(BaseModel):
    """Somebody in a room, with how many devices or tabs."""

    id: str
    name: str
    connections: int


class Event(BaseModel):
    """What a group is told, with its position if the log keeps it. What is kept, a later version of the
    app reads again: a new field of a kept event needs a default."""

    group: str
    position: str | None = Field(default=None, exclude_if=lambda position: position is None)


class Said(Event):
    type: Literal["said"] = "said"
    id: str
    user: User
    text: str
    at: float = Field(description="Unix time in seconds.")


class Typing(Event):
    type: Literal["typing"] = "typing"
    user: User


class Present(Event):
    """Who came, or has another number of connections; whose last connection has gone."""

    type: Literal["presence"] = "presence"
    joined: list[Member] = []
    left: list[str] = []
    count: int


class JobStarted(Event):
    """As an answer its group is the job's; as an event, for each device of the user, ``jobs.me``."""

    type: Literal["job_started"] = "job_started"
    job: str
    job_group: str
    kind: Kind
    prompt: str


class JobOutput(Event):
    type: Literal["job_output"] = "job_output"
    job: str
    text: str


class JobProgress(Event):
    type: Literal["job_progress"] = "job_progress"
    job: str
    done: int
    total: int
    label: str


class JobEnded(Event):
    type: Literal["job_ended"] = "job_ended"
    job: str
    state: JobState
    detail: str = ""


Kept = Said | JobStarted | JobOutput | JobProgress | JobEnded
KEPT: TypeAdapter[list[Kept]] = TypeAdapter(list[Annotated[Kept, Field(discriminator="type")]])


class Joined(BaseModel):
    """``complete``: nothing after ``since`` is missing. From ``position`` on, events come by themselves."""

    type: Literal["joined"] = "joined"
    group: str
    complete: bool
    position: str
    events: list[Kept]
    members: list[Member] = Field(default=[], description="Of a room, at most 200.")
    member_count: int = 0


class Incomplete(BaseModel):
    """The server was cut off, and events may be missing: join the groups again."""

    type: Literal["incomplete"] = "incomplete"


# For those who are in the room now, at most one of a kind from a socket each 3 s; no log keeps it.
Fleeting = Type

Incoming = Join | Leave | Say | Fleeting | StartJob | CancelJob | Renew | Ping
Outgoing = Welcome | Renewed | Joined | Kept | Typing | Present | Incomplete
