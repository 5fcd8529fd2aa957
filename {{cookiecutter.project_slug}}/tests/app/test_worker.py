"""The worker as a program."""

from pathlib import Path

import pytest

from .broker import Broker
from .processes import PACKAGE, WebProcess, run_program
from .visitors import visit_server

WORKER = f"{PACKAGE}.worker"
UNREACHABLE = "redis://127.0.0.1:1/0"  # port 1 is nobody's


def test_without_redis_the_worker_says_why_it_cannot_work(tmp_path: Path) -> None:
    ended = run_program(tmp_path, WORKER)
    assert ended.status == 1
    assert "REDIS_URL" in ended.errors
    assert "Traceback" not in ended.errors


@pytest.mark.parametrize(("reachable", "status"), [(True, 0), (False, 1)])
def test_check_tells_by_its_exit_status_whether_it_could_work(
    broker: Broker, tmp_path: Path, reachable: bool, status: int
) -> None:
    """It is the container's health check."""
    url = broker.url if reachable else UNREACHABLE
    assert run_program(tmp_path, WORKER, "--check", REDIS_URL=url).status == status


def test_the_command_line_finds_the_jobs(broker: Broker, tmp_path: Path, room: str) -> None:
    """By the function that makes the app's layers, with the app's settings."""
    depth = ("fast_channels", "--layers", f"{PACKAGE}.layers", "depth", "jobs")
    ended = run_program(tmp_path, *depth, REDIS_URL=broker.url, APP_NAME=f"test-{room}")
    assert (ended.status, ended.errors) == (0, "")
    assert ended.output.split() == ["waiting", "0", "in", "work", "0", "dead", "0"]


async def test_a_web_process_does_jobs_too_if_it_is_told_to(
    broker: Broker, tmp_path: Path, room: str
) -> None:
    """As `make dev` tells it: with Redis, and without another process, no job stands at 0 %."""
    settings = {"REDIS_URL": broker.url, "RUN_WORKER": "true", "JOB_STEP_SECONDS": "0.01"}
    settings["APP_NAME"] = f"test-{room}"
    with WebProcess(tmp_path, settings) as web:
        async with visit_server(web.url) as ada:
            await ada.start("steps")
            assert (await ada.receive("job_ended"))["state"] == "done"
