"""Jobs: a user starts one, a worker does it, and its group is told, on each device."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest
from fastapi import FastAPI

from fast_channels.layers import InMemoryChannelLayer, channel_layers, register_channel_layer
from fast_channels.worker import Worker

from {{ cookiecutter.project_slug }} import jobs
from {{ cookiecutter.project_slug }}.schemas import JobOutput, JobStarted
from {{ cookiecutter.project_slug }}.settings import get_settings

from .visitors import PATIENCE, followed, keeps_history, text_of, visit

Kind = Callable[[str, str, list[Any]], AsyncGenerator[Any, None]]

everywhere = pytest.mark.parametrize("redis_url", ["memory", "redis"], indirect=True)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """An answer of three words, of which the last comes after the event."""
    go_on = asyncio.Event()

    async def answer(job: str, prompt: str, said: list[Any]) -> AsyncIterator[JobOutput]:
        already = len(said)
        for text in ("One ", "two ", "three")[already:]:
            if text == "three":
                await go_on.wait()
            yield JobOutput(group=f"job.{job}", job=job, text=text)

    monkeypatch.setitem(jobs.KINDS, "answer", answer)
    return go_on


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job says nothing before a visitor has joined its group: pub/sub keeps nothing for that."""

    def following(begin: Kind) -> Kind:
        async def run(job: str, prompt: str, said: list[Any]) -> AsyncGenerator[Any, None]:
            async with asyncio.timeout(PATIENCE):
                while job not in followed:
                    await asyncio.sleep(0.005)
            async with aclosing(begin(job, prompt, said)) as events:
                async for event in events:
                    yield event

        return run

    for name, begin in list(jobs.KINDS.items()):
        monkeypatch.setitem(jobs.KINDS, name, following(begin))


@everywhere
async def test_an_answer_comes_word_by_word(app: FastAPI, late: None) -> None:
    """In the job's own group, to its end; another page of the user gets the same afterwards."""
    async with visit(app) as ada:
        started = await ada.start("answer", prompt="Why?")
        *words, end = await ada.receive_until("job_ended")
        assert {word["group"] for word in words} == {started["group"]}
        assert len(words) > 20
        whole = jobs.ANSWER.format(prompt="Why?")
        assert text_of(words) == whole
        assert (end["job"], end["state"]) == (started["job"], "done")
        async with visit(app, cookie=ada.cookie) as device:
            events = (await device.follow(started["job"]))["events"]
            assert text_of(events) == (text_of(words) if keeps_history() else "")


@everywhere
async def test_steps_have_progress(app: FastAPI, late: None) -> None:
    """`done` grows by one, to the total."""
    async with visit(app) as ada:
        job = (await ada.start("steps"))["job"]
        *steps, end = await ada.receive_until("job_ended")
        assert [step["done"] for step in steps] == list(range(1, steps[0]["total"] + 1))
        assert all(step["label"] and step["job"] == job for step in steps)
        assert end["state"] == "done"


@everywhere
async def test_each_device_of_the_user_knows_the_jobs(app: FastAPI) -> None:
    """Those that are started, and after a reload those of the last day; nobody else's."""
    async with visit(app) as ada, visit(app, name="Eve") as eve:
        for visitor in (ada, eve):
            await visitor.ask("join", group="jobs.me", history=50)
        started = await ada.ask("start_job", kind="answer", prompt="Why?")
        told = await ada.receive("job_started")
        told.pop("position", None)
        assert told == {
            "type": "job_started",
            "group": "jobs.me",
            "job": started["job"],
            "job_group": started["group"],
            "kind": "answer",
            "prompt": "Why?",
        }
        async with visit(app, cookie=ada.cookie) as device:
            listed = (await device.ask("join", group="jobs.me", history=50))["events"]
            assert [one["job"] for one in listed] == [started["job"]] * keeps_history()
        assert await eve.is_told_no("job_started")
        assert (await eve.follow(started["job"]))["code"] == "no_job"
        assert (await eve.ask("cancel_job", job=started["job"]))["code"] == "no_job"


async def test_an_unknown_kind_is_answered_with_those_that_there_are(app: FastAPI) -> None:
    async with visit(app) as ada:
        answer = await ada.ask("start_job", kind="mine")
        assert (answer["code"], "answer, steps" in answer["detail"]) == ("no_kind", True)
        assert await jobs.under_way(ada.user["id"]) == []


@everywhere
async def test_a_kind_that_only_another_version_knows_is_listed(app: FastAPI) -> None:
    """During a deploy, or when one goes back: a kept event may be younger than the process."""
    async with visit(app) as ada:
        started = {"type": "job_started", "group": "jobs.me", "job": "j", "job_group": "job.j"}
        text = json.dumps({**started, "kind": "poem", "prompt": ""})
        message = {"type": "deliver.frame", "frame": "job_started", "text": text}
        await channel_layers["default"].group_send(jobs.list_of(ada.user["id"]), message)
        listed = (await ada.ask("join", group="jobs.me", history=50))["events"]
        assert [one["kind"] for one in listed] == ["poem"] * keeps_history()


@everywhere
async def test_a_job_that_runs_can_be_cancelled(
    app: FastAPI, slow: asyncio.Event, late: None
) -> None:
    async with visit(app) as ada:
        job = (await ada.start("answer"))["job"]
        await ada.receive("job_output")
        assert (await ada.ask("cancel_job", job=job))["type"] == "ok"
        assert (await ada.receive("job_ended"))["state"] == "cancelled"
        assert await jobs.under_way(ada.user["id"]) == []


async def test_a_job_that_waits_can_be_cancelled(app: FastAPI) -> None:
    """It ends when a worker takes it, before it has said anything."""
    register_channel_layer("jobs", idle_queue())
    async with visit(app) as ada:
        job = (await ada.start("answer"))["job"]
        await ada.ask("cancel_job", job=job)
        async with jobs.make_worker():
            assert [one["type"] for one in await ada.receive_until("job_ended")] == ["job_ended"]
        assert (await ada.follow(job))["events"][-1]["state"] == "cancelled"


async def test_a_job_that_fails_is_tried_again_and_then_says_so(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What went wrong is the log's, not the page's."""
    attempts = 0

    async def answer(job: str, prompt: str, said: list[Any]) -> AsyncIterator[JobOutput]:
        nonlocal attempts
        attempts += 1
        if not said:
            yield JobOutput(group=f"job.{job}", job=job, text="Well, ")
        raise RuntimeError("secret")

    monkeypatch.setitem(jobs.KINDS, "answer", answer)
    monkeypatch.setattr("fast_channels.worker.FIRST_RETRY", 0.01)
    async with visit(app) as ada:
        await ada.start("answer")
        *said, end = await ada.receive_until("job_ended")
        assert text_of(said) == "Well, "
        assert end["state"] == "failed"
        assert "secret" not in end["detail"]
        assert "secret" in caplog.text
        assert attempts == jobs.ATTEMPTS
        assert await jobs.under_way(ada.user["id"]) == []


async def test_a_job_that_says_more_than_its_log_keeps_fails(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Or a reload would show an end without its beginning."""
    monkeypatch.setattr(jobs, "MOST_EVENTS", 10)
    monkeypatch.setattr("fast_channels.worker.FIRST_RETRY", 0.01)
    async with visit(app) as ada:
        await ada.start("answer")
        *said, end = await ada.receive_until("job_ended")
        assert (len(said), end["state"]) == (9, "failed")
        assert "let it yield larger pieces" in caplog.text


async def test_the_next_attempt_goes_on_where_the_last_one_died(
    app: FastAPI, slow: asyncio.Event
) -> None:
    """Nothing is said twice: what was said is read from the log."""
    register_channel_layer("jobs", idle_queue())
    async with visit(app) as ada:
        job = (await ada.start("answer"))["job"]
        async with hasty_worker():
            while (await ada.receive("job_output"))["text"] != "two ":
                pass
        slow.set()
        async with jobs.make_worker():
            assert (await ada.receive("job_ended"))["state"] == "done"
        assert text_of((await ada.follow(job))["events"]) == "One two three"


async def test_a_worker_that_was_taken_for_dead_says_no_more(
    app: FastAPI, slow: asyncio.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """Its job has another one; it neither ends it nor acknowledges it."""
    queue = idle_queue()
    register_channel_layer("jobs", queue)
    async with visit(app) as ada:
        job = (await ada.start("answer"))["job"]
        async with hasty_worker():
            while (await ada.receive("job_output"))["text"] != "two ":
                pass
            await queue.group_send(f"job.{job}", {"type": "job.attempt", "attempt": "another"})
            async with asyncio.timeout(PATIENCE):
                while "TakenForDead" not in caplog.text:
                    await asyncio.sleep(0.01)
            slow.set()
            assert await ada.is_told_no("job_output")
            depth = await queue.depth("jobs")
            assert depth.waiting + depth.leased == 1


def idle_queue() -> InMemoryChannelLayer:
    """Jobs of which nobody works on any."""
    from {{ cookiecutter.project_slug }}.layers import JOB_HISTORY

    return InMemoryChannelLayer(expiry=3600, group_history=JOB_HISTORY)


def hasty_worker() -> Worker:
    """One that gives its job back as soon as it is stopped."""
    routes = {jobs.CHANNEL: jobs.JobConsumer}
    return Worker(channel_layers["jobs"], routes, drain_timeout=0)


@everywhere
async def test_a_visitor_who_leaves_does_not_stop_the_worker(app: FastAPI, late: None) -> None:
    """The job is done all the same, and the worker takes the next one."""
    async with visit(app) as ada:
        job = (await ada.start("steps"))["job"]
        await ada.receive("job_progress")
    async with visit(app, cookie=ada.cookie) as ada:
        if keeps_history():
            events = (await ada.follow(job))["events"]
            if not any(event["type"] == "job_ended" for event in events):
                await ada.receive("job_ended")
        await ada.start("answer")
        await ada.receive("job_ended")


async def test_a_full_queue_is_told_and_the_socket_stays_open(app: FastAPI, room: str) -> None:
    register_channel_layer("jobs", InMemoryChannelLayer(capacity=1))
    async with visit(app, room) as ada:
        answers = [await ada.ask("start_job", kind="steps") for _ in range(2)]
        assert [answer["type"] for answer in answers] == ["job_started", "error"]
        assert answers[1]["code"] == "busy"
        await ada.say(room, "Still here")
        assert (await ada.receive("said"))["text"] == "Still here"


async def test_a_user_may_have_so_many_jobs_under_way(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All devices together; one that ends, and one that the queue refuses, takes no place."""
    monkeypatch.setenv("JOBS_PER_USER", "2")
    get_settings.cache_clear()
    queue = idle_queue()
    register_channel_layer("jobs", queue)
    async with visit(app) as ada, visit(app, cookie=ada.cookie) as device:
        await ada.start("steps")
        await device.start("steps")
        for visitor in (ada, device):
            assert (await visitor.ask("start_job", kind="steps"))["code"] == "too_many"
        async with visit(app, name="Ben") as ben:
            await ben.start("steps")
        async with jobs.make_worker():
            await ada.receive("job_ended")
            await device.receive("job_ended")
        queue.channel_capacity = queue.compile_capacities({"jobs": 1})
        await queue.send("jobs", {"type": "job.run"})
        for _ in range(3):
            assert (await ada.ask("start_job", kind="steps"))["code"] == "busy"


@everywhere
async def test_jobs_that_start_at_the_same_time_are_counted(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sees those before it: as many begin as may, and those that are refused take no place."""
    monkeypatch.setenv("JOBS_PER_USER", "3")
    get_settings.cache_clear()
    monkeypatch.setattr(jobs, "CHANNEL", "nobody.works")
    started = [jobs.start("ada", "steps", "") for _ in range(20)]
    answers = await asyncio.gather(*started, return_exceptions=True)
    begun = [one.job for one in answers if isinstance(one, JobStarted)]
    assert len(begun) == 3
    assert {str(one) for one in answers if not isinstance(one, JobStarted)} == {
        "Your jobs have to end before you start another one."
    }
    assert sorted(await jobs.under_way("ada")) == sorted(begun)
