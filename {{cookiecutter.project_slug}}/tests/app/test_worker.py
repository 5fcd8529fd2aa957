"""The worker as a program."""

from pathlib import Path

import pytest

from .broker import Broker
from .processes import run_worker

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
