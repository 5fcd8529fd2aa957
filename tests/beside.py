"""Long commands of rendered projects, which run beside the tests that do not wait for them.

A test names its command in a mark, ``beside("make", "test")``; the fixture ``done`` is what came of it.
All commands of the selected tests start with the first test, a few at a time, in the order of the tests;
those tests come last. Most of what the commands do is waiting: for a process, a clock, a socket.
"""

import shutil
import subprocess
from collections.abc import Mapping
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
        variants: Mapping[Variant, Path],
        folder: Path,
        env: Mapping[str, str],
    ) -> None:
        """In a copy of the project of the mark's variant, or else of the test's own one.

        The copy is in ``folder``, one for each variant. The mark's ``env`` is added to this one.
        """
        mark = item.get_closest_marker("beside")
        if mark is None:
            return
        variant: Variant = mark.kwargs.get("variant") or item.callspec.params["variant"]  # type: ignore[attr-defined]
        project = folder / "-".join(variant) / variants[variant].name
        if not project.exists():
            shutil.copytree(variants[variant], project)
        self.submit(item.nodeid, *mark.args, cwd=project, env={**env, **mark.kwargs.get("env", {})})

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
    """Let the tests that wait come after all others, in their order."""
    items.sort(key=lambda item: item.get_closest_marker("beside") is not None)
