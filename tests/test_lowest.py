"""The oldest libraries that a project allows: its app, endpoints and the command line work with them too."""

import re
import tomllib

import pytest

from beside import Done, Place

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


def with_the_oldest(place: Place) -> Done:
    """What is deprecated since may be said."""
    data = tomllib.loads((place.project / "pyproject.toml").read_text(encoding="utf-8"))
    lowest = dict(one.split(">=") for one in data["project"]["dependencies"] if "," not in one)
    overlay = [part for name in PACKAGES for part in ("--with", f"{name}=={lowest[name]}")]
    command = ["uv", "run", "--locked", *overlay, "python", "-m"]
    return place.run(*command, "pytest", "-W", "default", "-n", "0", *TESTS, cwd=place.project)


@pytest.mark.timeout(2400)
@pytest.mark.beside(with_the_oldest, seconds=20)
def test_the_oldest_versions_work(done: Done) -> None:
    """Sockets, HTTP and jobs by FastAPI's TestClient; dependencies of sockets; typed frames; commands."""
    assert done.returncode == 0, done.stdout[-20_000:]
    assert re.search(r"\d+ passed", done.stdout)
