"""Every channel layer on every topology: green by the commands of its own Makefile.

`make lint` runs in all six variants. `make test` runs whole in two of them, which take about two
minutes each, and otherwise the tests of the app. For the runtime and its tests are the same bytes in
all variants and cover each layer on each topology, whatever was chosen; what differs is `layers.py`
and the Redis that the tests of the app start.
"""

import re
import shutil
from pathlib import Path

import pytest

from rendering import run

Variant = tuple[str, str, Path]

WHOLE_SUITE = {("pubsub", "standalone"), ("queue", "cluster")}

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.mark.timeout(1200)
def test_lint_is_clean(variant: Variant, caches: dict[str, str]) -> None:
    """``make lint``: ruff check, ruff format --check and mypy --strict."""
    linted = run("make", "lint", cwd=variant[-1], env=caches, timeout=1180)
    assert linted.returncode == 0, linted.stdout


def test_the_runtime_satisfies_pyright(variants: dict[tuple[str, str], Path]) -> None:
    """A second type checker finds nothing in the vendored runtime, with the project's packages."""
    project = variants["pubsub", "standalone"]
    synced = run("uv", "sync", "--locked", cwd=project)
    assert synced.returncode == 0, synced.stdout
    checked = run("pyright", "--pythonpath", ".venv/bin/python", "src/fast_channels", cwd=project)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.timeout(2400)
def test_own_tests_pass(variant: Variant) -> None:
    """``make test``, against real Redis processes."""
    layer, topology, project = variant
    part = "" if (layer, topology) in WHOLE_SUITE else " tests/app"
    tested = run("make", "test", f"ARGS=--durations=5{part}", cwd=project, timeout=2380)
    print(tested.stdout[-20_000:])
    assert tested.returncode == 0, tested.stdout
    assert re.search(r"\d+ passed", tested.stdout)


@pytest.mark.skipif(
    not any(map(shutil.which, CHROMIUM_NAMES)),
    reason="needs Chromium on PATH (apt-get install chromium); the other tests do not open the page",
)
@pytest.mark.timeout(600)
def test_the_page_works_in_a_browser(variants: dict[tuple[str, str], Path]) -> None:
    """The page's own test, which the project skips without its optional browser group."""
    command = ["uv", "run", "--locked", "--group", "browser", "pytest", "tests/app/test_page.py"]
    tested = run(*command, cwd=variants["pubsub", "standalone"], timeout=580)
    assert tested.returncode == 0, tested.stdout
    assert re.search(r"\d+ passed", tested.stdout)
