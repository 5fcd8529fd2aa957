"""The oldest libraries that a project allows: its app, endpoints and the command line work with them too."""

import re
import tomllib
from pathlib import Path

import pytest

from rendering import run

PACKAGES = ("fastapi", "pydantic", "starlette", "typer")
COMMANDS = "tests/fast_channels/unit/test_command_line.py"
TESTS = (
    "tests/app/test_test_client.py",
    "tests/fast_channels/unit/test_endpoint.py",
    "tests/fast_channels/unit/test_frames_declared.py",
    "tests/fast_channels/unit/test_frames_documents.py",
    f"{COMMANDS}::test_list_shows_each_letter_in_a_line",
    f"{COMMANDS}::test_wrong_arguments_are_refused",
)


@pytest.mark.timeout(600)
def test_the_oldest_versions_work(installed: Path) -> None:
    """Sockets, HTTP and jobs by FastAPI's TestClient; dependencies of sockets; typed frames; commands.

    What is deprecated since may be said.
    """
    data = tomllib.loads((installed / "pyproject.toml").read_text(encoding="utf-8"))
    lowest = dict(one.split(">=") for one in data["project"]["dependencies"] if "," not in one)
    overlay = [part for name in PACKAGES for part in ("--with", f"{name}=={lowest[name]}")]
    command = ["uv", "run", "--locked", *overlay, "python", "-m"]
    tested = run(*command, "pytest", "-W", "default", "-n", "0", *TESTS, cwd=installed, timeout=580)
    assert tested.returncode == 0, tested.stdout[-20_000:]
    assert re.search(r"\d+ passed", tested.stdout)
