"""The worker as a program."""

import subprocess
import sys
from pathlib import Path

import pytest

from .broker import Broker
from .processes import PACKAGE, START_SECONDS, WebProcess, environment, run_worker
from .visitors import visit_server

UNREACHABLE = "redis://127.0.0.1:1/0"  # port 1 is nobody's


def test_without_redis_the_worker_says_why_it_cannot_work(tmp_path: Path) -> None:
    result = run_worker(tmp_path)
    assert result.returncode == 1
    assert "REDIS_URL" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("reachable", "status"), [(True, 0), (False, 1)])
def test_check_tells_by_its_exit_status_whether_it_could_work(
    broker: Broker, tmp_path: Path, reachable: bool, status: int
) -> None:
    """It is the container's health check."""
    url = broker.url if reachable else UNREACHABLE
    assert run_worker(tmp_path, "--check", REDIS_URL=url).returncode == status


def test_the_command_line_finds_the_jobs(broker: Broker, tmp_path: Path, room: str) -> None:
    """By the function that makes the app's layers, with the app's settings."""
    result = subprocess.run(
        [sys.executable, "-m", "fast_channels", "--layers", f"{PACKAGE}.layers", "depth", "jobs"],
        cwd=tmp_path,
        env=environment({"REDIS_URL": broker.url, "APP_NAME": f"test-{room}"}),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split() == ["waiting", "0", "in", "work", "0", "dead", "0"]


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
