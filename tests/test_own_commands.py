"""Every channel layer on every topology: green by the commands of its own Makefile.

`make lint` and `make test`, which is the app's tests, run in all six variants. `make test-runtime` runs in
one: the runtime and its tests are the same bytes in all of them, and cover each layer on each topology,
whatever was chosen. Its contract, where the topologies are, is run by `test_servers`, once for each server
program.
"""

import re
import shutil
from pathlib import Path

import pytest

from beside import Done
from rendering import TEMPLATE

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

RUNTIME = "tests/fast_channels"
FOLDERS = ("unit", "server", "faults")  # beside contract
WHOLE = " ".join(f"{RUNTIME}/{folder}" for folder in FOLDERS)
ONE = ("queue", "standalone")

pytestmark = pytest.mark.timeout(2400)


def passed(done: Done) -> None:
    print(done.stdout[-20_000:])
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d+ passed", done.stdout)


@pytest.mark.beside("make", "test-runtime", f"ARGS={WHOLE} --durations=5", variant=ONE)
def test_the_runtimes_tests_pass(done: Done) -> None:
    """``make test-runtime`` but for the contract: units, the socket protocol, faults."""
    passed(done)


def test_all_of_the_runtimes_tests_are_run() -> None:
    """Each folder that holds any is one of those above, or the contract."""
    tests = (TEMPLATE / RUNTIME).rglob("test_*.py")
    folders = {path.relative_to(TEMPLATE / RUNTIME).parts[0] for path in tests}
    assert folders == {*FOLDERS, "contract"}


@pytest.mark.beside("make", "test", "ARGS=-n 2 --durations=5")
def test_own_tests_pass(variant: tuple[str, str, Path], done: Done) -> None:
    """``make test``, against real Redis processes of the chosen topology."""
    passed(done)


@pytest.mark.beside("make", "lint")
def test_lint_is_clean(variant: tuple[str, str, Path], done: Done) -> None:
    """``make lint``: ruff check, ruff format --check and mypy --strict."""
    assert done.returncode == 0, done.stdout


PYRIGHT = "uv sync --locked && exec pyright --pythonpath .venv/bin/python src/fast_channels"


@pytest.mark.beside("sh", "-c", PYRIGHT, variant=("pubsub", "standalone"))
def test_the_runtime_satisfies_pyright(done: Done) -> None:
    """A second type checker finds nothing in the vendored runtime, with the project's packages."""
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(
    not any(map(shutil.which, CHROMIUM_NAMES)),
    reason="needs Chromium on PATH (apt-get install chromium); the other tests do not open the page",
)
@pytest.mark.beside(
    *("uv", "run", "--locked", "--group", "browser"),
    *("pytest", "-n", "2", "tests/app/test_page.py"),
    variant=("pubsub", "standalone"),
    # One of its own: with the group installed, make test would open the page too.
    env={"UV_PROJECT_ENVIRONMENT": "../environment"},
)
def test_the_page_works_in_a_browser(done: Done) -> None:
    """The page's own test, which the project skips without its optional browser group."""
    passed(done)
