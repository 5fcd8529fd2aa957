"""Jobs: asked for by a socket, done by the worker, reported to that socket."""

import pytest
from fastapi import FastAPI

from fast_channels.layers import InMemoryChannelLayer, register_channel_layer

from .visitors import PATIENCE, Frame, receive, receive_until, visit

everywhere = pytest.mark.parametrize("redis_url", ["memory", "redis"], indirect=True)


@everywhere
async def test_progress_comes_back_until_the_job_is_done(app: FastAPI, room: str) -> None:
    """`done` starts at 0 and never falls; the last word is job.done."""
    async with visit(app, room, "Ada") as ada:
        await ada.send_json_to({"type": "job.start", "id": "j-1"})
        *progress, end = await receive_until(ada, "job.done")
        job, total = end["job"], end["total"]
        assert end == {"type": "job.done", "job": job, "total": total}
        assert progress[0].pop("id") == "j-1"  # only the first, which answers the frame
        assert progress == [
            {"type": "job.progress", "job": job, "done": done, "total": total}
            for done in range(total)
        ]


@everywhere
async def test_only_the_socket_that_asked_hears_of_a_job(app: FastAPI, room: str) -> None:
    async with visit(app, room, "Ada") as ada, visit(app, room, "Ben") as ben:
        await receive(ada, "joined")
        await ben.send_json_to({"type": "job.start"})
        await receive(ben, "job.done")
        assert await ada.receive_nothing()


@everywhere
async def test_jobs_run_beside_each_other_under_different_ids(app: FastAPI, room: str) -> None:
    async with visit(app, room, "Ada") as ada:
        for _ in range(3):
            await ada.send_json_to({"type": "job.start"})
        ended = {(await receive(ada, "job.done"))["job"] for _ in range(3)}
        assert len(ended) == 3


async def test_a_visitor_who_leaves_does_not_stop_the_worker(app: FastAPI, room: str) -> None:
    """The worker reports to nobody, and takes the next job."""
    async with visit(app, room, "Ada") as ada:
        await ada.send_json_to({"type": "job.start"})
        await receive(ada, "job.progress")
    async with visit(app, room, "Ben") as ben:
        await ben.send_json_to({"type": "job.start"})
        await receive(ben, "job.done")


async def test_a_full_queue_is_told_and_the_socket_stays_open(app: FastAPI, room: str) -> None:
    register_channel_layer("jobs", InMemoryChannelLayer(capacity=1))  # nobody works on this one
    async with visit(app, room, "Ada") as ada:
        answers: list[Frame] = []
        for _ in range(2):
            await ada.send_json_to({"type": "job.start"})
            answers.append(await ada.receive_json_from(PATIENCE))
        assert [answer["type"] for answer in answers] == ["job.progress", "error"]
        assert "busy" in answers[1]["detail"]
        await ada.send_json_to({"type": "message", "text": "Still here"})
        assert (await receive(ada, "message"))["text"] == "Still here"
