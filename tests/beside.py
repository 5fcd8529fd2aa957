"""Long commands of rendered projects, which run beside the tests that do not wait for them.

A test names its command in a mark, ``beside("make", "test")``; the fixture ``done`` is what came of it.
All commands of the selected tests start with the first test, a few at a time, those first that take
longest: by the mark's ``seconds``. Those tests come last, in the same order. Most of what the commands do
is waiting: for a process, a clock, a socket.
"""

import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from rendering import run

AT_ONCE = 3
TIMEOUT = 2400  # seconds

Variant = tuple[str, str]
Done = subprocess.CompletedProcess[str]


class Commands:
    """Started by ``start``; ``result`` waits."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="beside")
        self._running: set[subprocess.Popen[bytes]] = set()
        self._started: dict[str, Future[Done]] = {}

    def start(
        self,
        item: pytest.Item,
        default: Variant,
        projects: Mapping[Variant, Path],
        environment: Callable[[Path], Mapping[str, str]],
    ) -> None:
        """In the project of the test's own variant, or else of the default one.

        The mark's `env` is added to what `environment` gives for the project.
        """
        mark = item.get_closest_marker("beside")
        if mark is None:
            return
        callspec = getattr(item, "callspec", None)
        project = projects[callspec.params.get("variant", default) if callspec else default]
        env = {**environment(project), **mark.kwargs.get("env", {})}
        self.submit(item.nodeid, *mark.args, cwd=project, env=env)

    def submit(self, name: str, *command: str, cwd: Path, env: Mapping[str, str]) -> None:
        self._started[name] = self._pool.submit(
            run, *command, cwd=cwd, env=env, timeout=TIMEOUT, running=self._running
        )

    def result(self, name: str) -> Done:
        return self._started[name].result()

    def close(self) -> None:
        """What has not begun never does, and what is under way ends: nobody waits for it any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in list(self._running):
            process.terminate()
        self._pool.shutdown()


def last(items: list[pytest.Item]) -> None:
    """Let the tests that wait come after all others, those with the longest commands first."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> tuple[bool, float]:
    mark = item.get_closest_marker("beside")
    return mark is not None, -mark.kwargs.get("seconds", 0) if mark else 0
