"""The jobs: a socket starts one, a worker in whichever process does it and tells the job's own group.

The group ``job.<id>`` of the sockets' layer keeps what a job says, so that a page that comes back, or
another device, sees all of it. The jobs' layer keeps which jobs are under way, and what is to stop.

Invariants
- An attempt goes on where the log of the job's group ends, so that a job says nothing twice, however its
  workers die. (With pub/sub there is no log, and another attempt begins anew.)
- A worker stops when the job was cancelled, and when another attempt at it has begun: it was taken for dead.
- A user has at most ``jobs_per_user`` jobs under way, as far back as the log of them goes. A job is
  in that log before it is counted, and those before it count: of any that are under way the last one to
  be written saw all others.
- The last that a job says is one ``job_ended``, also if it was given up.
"""

import asyncio
import hashlib
import re
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from itertools import takewhile
from typing import Any

from fast_channels.consumer import AsyncConsumer
from fast_channels.exceptions import ChannelFull
from fast_channels.frames import Refused, frame_message
from fast_channels.identity import user_group
from fast_channels.layers import channel_layers
from fast_channels.mailbox import Message
from fast_channels.recovery import follow
from fast_channels.tasks import cancel_and_wait
from fast_channels.worker import Worker

from .schemas import (
    KEPT,
    MY_JOBS,
    JobEnded,
    JobOutput,
    JobProgress,
    JobStarted,
    JobState,
    Kept,
)
from .settings import get_settings

CHANNEL = "jobs"
ATTEMPTS = 4
MOST_EVENTS = 1000  # of one job; as many as its log keeps and a page gets at once
STEPS = ("Reading", "Sorting", "Comparing", "Counting", "Writing")
TURNS = 4  # of each step
ANSWER = (
    "You asked: {prompt}\n\nThis answer comes from a worker, word by word, and each word is kept in "
    "the log of its job. Reload the page, open another device, or stop the server for a moment: "
    "nothing is missing, and it goes on. Your model's client takes the place of these words: jobs.py."
)


def group_of(job: str) -> str:
    return f"job.{job}"


def list_of(user_id: str) -> str:
    """The group that is told of a user's jobs, on each layer."""
    return f"jobs.{user_group(user_id)}"


def check_owned(job: str, user_id: str) -> None:
    """``Refused`` unless the user has started the job: its id begins with a digest of theirs."""
    if not job.startswith(_prefix(user_id)):
        raise Refused("There is no such job of yours.", "no_job")


def _prefix(user_id: str) -> str:
    return f"{hashlib.sha256(user_id.encode()).hexdigest()[:16]}-"


# From the sockets


async def start(user_id: str, kind: str, prompt: str) -> JobStarted:
    """``Refused`` for an unknown kind and beyond the user's number of jobs, ``ChannelFull`` beyond all's."""
    if kind not in KINDS:
        raise Refused(f"There is no such job; there are: {', '.join(KINDS)}.", "no_kind")
    job = _prefix(user_id) + uuid.uuid4().hex
    queue = channel_layers["jobs"]
    what = {"type": "job.run", "job": job, "user": user_id, "kind": kind, "prompt": prompt}
    check_room(await under_way(user_id))  # who is refused here writes nothing
    await queue.group_send(list_of(user_id), {"type": "job.started", "job": job})
    try:
        # Of those that start at the same time, in whichever process, the log's order says who came first.
        check_room(list(takewhile(job.__ne__, await under_way(user_id))))
        await queue.send(CHANNEL, what)
    except (Refused, ChannelFull):
        await forget(what)
        raise
    started = JobStarted(group=MY_JOBS, job=job, job_group=group_of(job), kind=kind, prompt=prompt)
    await channel_layers["default"].group_send(list_of(user_id), frame_message(started))
    return started.model_copy(update={"group": started.job_group})


def check_room(others: Sequence[str]) -> None:
    """``Refused`` if a user who has these jobs under way may not start another one."""
    if len(others) >= get_settings().jobs_per_user:
        raise Refused("Your jobs have to end before you start another one.", "too_many")


async def under_way(user_id: str) -> list[str]:
    """The jobs of a user that have not ended, whichever processes started and do them, in their order."""
    jobs: dict[str, None] = {}
    async with follow(channel_layers["jobs"], list_of(user_id), history=MOST_EVENTS) as following:
        for message in following.joined.messages:
            if message["type"] == "job.started":
                jobs[message["job"]] = None
            else:
                jobs.pop(message["job"], None)
    return list(jobs)


async def cancel(user_id: str, job: str) -> None:
    """Its worker stops, or ends it as soon as it takes it; of one that has ended nothing changes."""
    check_owned(job, user_id)
    await channel_layers["jobs"].group_send(group_of(job), {"type": "job.cancel"})


# Kinds of work: generators of events; ``said`` is what an earlier attempt has told


async def answer(job: str, prompt: str, said: list[Kept]) -> AsyncGenerator[JobOutput, None]:
    """A place for a model's client: yield what it streams; pass it ``already`` to go on from."""
    already = "".join(one.text for one in said if isinstance(one, JobOutput))
    whole = ANSWER.format(prompt=prompt or "nothing in particular")
    for word in re.findall(r"\S+\s*", whole[len(already) :]):
        await asyncio.sleep(get_settings().job_step_seconds / 5)
        yield JobOutput(group=group_of(job), job=job, text=word)


async def steps(job: str, prompt: str, said: list[Kept]) -> AsyncGenerator[JobProgress, None]:
    total = len(STEPS) * TURNS
    begun = max((one.done for one in said if isinstance(one, JobProgress)), default=0)
    for done in range(begun + 1, total + 1):
        await asyncio.sleep(get_settings().job_step_seconds)  # stands for the real work
        label = STEPS[(done - 1) // TURNS]
        yield JobProgress(group=group_of(job), job=job, done=done, total=total, label=label)


KINDS: dict[str, Callable[[str, str, list[Kept]], AsyncGenerator[Any, None]]] = {
    "answer": answer,
    "steps": steps,
}


# In the worker


class TakenForDead(RuntimeError):
    """Another attempt at the job has begun: this one has lost its lease."""


class JobConsumer(AsyncConsumer):
    """Does one job."""

    channel_layer_alias = "default"
    handlers = frozenset({"job.run"})

    async def job_run(self, message: Message) -> None:
        work = asyncio.create_task(self.work(message))
        stop = asyncio.create_task(self.until_cancelled(message["job"]))
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait({work, stop})
        if not work.cancelled():
            work.result()
        else:
            stop.result()
            await end(message, "cancelled")

    async def work(self, message: Message) -> None:
        job = message["job"]
        said = await events_of(job)
        if any(isinstance(one, JobEnded) and one.state != "failed" for one in said):
            await forget(message)  # all that an earlier attempt did not come to
            return
        room = MOST_EVENTS - len(said) - 1  # the end is one, too
        async with aclosing(KINDS[message["kind"]](job, message["prompt"], said)) as events:
            async for event in events:
                if (room := room - 1) < 0:
                    raise RuntimeError(
                        f"Job {job} has more than {MOST_EVENTS} events, which is what its log "
                        f"keeps: let it yield larger pieces"
                    )
                await self.channel_layer.group_send(group_of(job), frame_message(event))
        await end(message, "done")

    async def until_cancelled(self, job: str) -> None:
        queue, attempt = channel_layers["jobs"], uuid.uuid4().hex
        async with follow(queue, group_of(job), history=MOST_EVENTS) as following:
            if any(one["type"] == "job.cancel" for one in following.joined.messages):
                return
            await queue.group_send(group_of(job), {"type": "job.attempt", "attempt": attempt})
            async for message in following:
                if message["type"] == "job.cancel":
                    return
                if message["type"] == "job.attempt" and message["attempt"] != attempt:
                    raise TakenForDead(job)


async def events_of(job: str) -> list[Kept]:
    """What the job has said so far."""
    async with follow(channel_layers["default"], group_of(job), history=MOST_EVENTS) as following:
        texts = [message["text"] for message in following.joined.messages]
    return KEPT.validate_json(f"[{','.join(texts)}]")


async def end(message: Message, state: JobState, detail: str = "") -> None:
    job = message["job"]
    ended = JobEnded(group=group_of(job), job=job, state=state, detail=detail)
    await channel_layers["default"].group_send(group_of(job), frame_message(ended))
    await forget(message)


async def forget(message: Message) -> None:
    """The job is not under way any more."""
    ended = {"type": "job.ended", "job": message["job"]}
    await channel_layers["jobs"].group_send(list_of(message["user"]), ended)


async def give_up(message: Message, error: BaseException) -> None:
    """All attempts have failed. The error is the log's and the dead letter's, not the user's."""
    await end(message, "failed", "The job has failed, also when it was tried again.")


def make_worker() -> Worker:
    return Worker(
        channel_layers["jobs"],
        {CHANNEL: JobConsumer},
        concurrency=get_settings().worker_concurrency,
        max_attempts=ATTEMPTS,
        on_dead=give_up,
    )
