"""Long work of tests, which runs beside the tests that do not wait for it.

A test names it in a mark, ``beside("make", "test")`` or ``beside(function)``; the fixture ``done`` is what
came of it. All that the selected tests name starts with the first test, a few at a time, that first which
takes longest: by the mark's ``seconds``. Those tests come last, in the same order. Most of what is done
there is waiting: for a process, a clock, a socket.

Invariants
- What several tests name alike is done once.
- A function runs in a thread: it renders nothing, for cookiecutter changes the working directory of all.
"""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rendering import run

AT_ONCE = 3
TIMEOUT = 2400  # seconds

Variant = tuple[str, str]
Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Place:
    """Where work is done: `project` is that of its variant, `folder` its own and empty at first.

    `plain` is the default project as it was rendered. `environment` gives the variables with which a
    project runs in the environment that all share.
    """

    folder: Path
    project: Path
    plain: Path
    environment: Callable[[Path], Mapping[str, str]]
    running: set[subprocess.Popen[bytes]] = field(default_factory=set)

    def copy(self) -> Path:
        """A default project of one's own."""
        return Path(shutil.copytree(self.plain, self.folder / self.plain.name))

    def run(self, *command: str, cwd: Path, env: Mapping[str, str] | None = None) -> Done:
        return run(*command, cwd=cwd, env=env, timeout=TIMEOUT, running=self.running)


Work = Callable[[Place], Any]


def command(*words: str, env: Mapping[str, str] | None = None) -> Work:
    """Runs it in the project, in the shared environment and with the variables `env`."""
    return lambda place: place.run(
        *words, cwd=place.project, env={**place.environment(place.project), **(env or {})}
    )


class Commands:
    """Started by ``submit``; ``result`` waits, and raises what the work has raised."""

    def __init__(self) -> None:
        self.running: set[subprocess.Popen[bytes]] = set()  # what `close` ends
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="beside")
        self._started: dict[str, Future[Any]] = {}

    def submit(self, name: str, work: Work, place: Place) -> None:
        """Once for each name."""
        if name not in self._started:
            self._started[name] = self._pool.submit(work, place)

    def result(self, name: str) -> Any:
        return self._started[name].result()

    def close(self) -> None:
        """What has not begun never does, and what is under way ends: nobody waits for it any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in list(self.running):
            process.terminate()
        self._pool.shutdown()


def work_of(item: pytest.Item) -> Work | None:
    mark = item.get_closest_marker("beside")
    if mark is None:
        return None
    first = mark.args[0]
    return first if callable(first) else command(*mark.args, env=mark.kwargs.get("env"))


def name_of(item: pytest.Item) -> str:
    """The same for tests that name the same function, else the test's own."""
    mark = item.get_closest_marker("beside")
    assert mark is not None
    first = mark.args[0]
    return f"{first.__module__}.{first.__qualname__}" if callable(first) else item.nodeid


def variant_of(item: pytest.Item, default: Variant) -> Variant:
    callspec = getattr(item, "callspec", None)
    variant: Variant = callspec.params.get("variant", default) if callspec else default
    return variant


def last(items: list[pytest.Item]) -> None:
    """Let the tests that wait come after all others, those with the longest work first."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> tuple[bool, float]:
    mark = item.get_closest_marker("beside")
    return mark is not None, -mark.kwargs.get("seconds", 0) if mark else 0
