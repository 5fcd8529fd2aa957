"""Web servers in processes of their own: started on a free port, looked at from outside, ended.

Invariant: CPU and memory are those of the process and all its children, for some servers fork.
"""

import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Self

import psutil

from .. import forks
from ..cpus import Cores, pinned
from ..processes import ChildError
from ..store import ROOT

STARTS_WITHIN = 20.0  # seconds, on a busy machine
SETTLES_WITHIN = 10.0
QUIET = 0.1  # seconds over which a server that has nothing left to do uses less than one tick
TICK = 0.01  # seconds; one of the kernel's, where it counts CPU time in them


class Server(AbstractContextManager["Server"]):
    """``command`` is what follows ``python -m``; ``{port}`` in it becomes the port."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], cores: Cores) -> None:
        self.port = _free_port()
        filled = [part.format(port=self.port) for part in command]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end
        with pinned(cores):
            self._process = forks.start(filled, cwd=ROOT, env=env, piped=False, errors=self._errors)
        self._watched = psutil.Process(self._process.pid)

    def __enter__(self) -> Self:
        deadline = time.monotonic() + STARTS_WITHIN
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                last_words = self._last_words()
                self.__exit__()
                raise ChildError(f"the server did not start: {last_words}")
            time.sleep(0.02)
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Everything is counted by now: it is killed with its children, not shut down."""
        if self._process.poll() is None:
            for process in self._all():
                process.kill()
        self._process.wait()
        self._errors.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raises ``ChildError`` if it has ended."""
        if (status := self._process.poll()) is not None:
            raise ChildError(f"the server exited with status {status}: {self._last_words()}")

    def cpu(self) -> float:
        """Seconds of CPU so far, user and system."""
        return sum(map(_cpu_of, self._all()))

    def settled_cpu(self) -> float:
        """``cpu()`` once it has finished what it is doing, such as saying goodbye to clients."""
        deadline = time.monotonic() + SETTLES_WITHIN
        before = self.cpu()
        while time.monotonic() < deadline:
            time.sleep(QUIET)
            now = self.cpu()
            if now - before < TICK:
                return now
            before = now
        return before  # one that polls is never quiet

    def memory(self) -> int:
        """Bytes that are its own. Of those that are resident the kernel counts up to 64 pages late."""
        return int(sum(process.memory_full_info().uss for process in self._all()))

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return said[-1] if said else "it said nothing"

    def _all(self) -> list[psutil.Process]:
        return [self._watched, *self._watched.children(recursive=True)]

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


def _cpu_of(process: psutil.Process) -> float:
    """Linux has a clock for each process, of the number that clock_getcpuclockid(3) makes of its id.

    Elsewhere it is what the kernel counts in ticks: a quick sample may seem to have taken nothing.
    """
    if sys.platform == "linux":
        return time.clock_gettime(~process.pid << 3 | 2)
    times = process.cpu_times()
    return float(times.user + times.system)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port
