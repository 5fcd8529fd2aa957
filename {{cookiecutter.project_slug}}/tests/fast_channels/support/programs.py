"""Python programs, each in a process that begins as a fork of one that has imported what they need.

`python -m NAME` spends a second of a core on its imports before it does anything; such a fork a tenth of
it. The process that is forked has imported `LIBRARIES`, as far as they are installed, and nothing of what a
program may do at its import: neither the app nor the tests. It ends with the test run; so do the programs,
by the guardian.
"""

import os
import runpy
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from . import forked
from .redis_servers.guardian import guardian

# What uvicorn and the app import; some of it they name only when they start.
LIBRARIES = (
    "__main__",  # the test runner's, which each program would import otherwise
    "fast_channels.frames",
    "fast_channels.layers.redis",
    "fast_channels.presence",
    "fast_channels.server",
    "fast_channels.sse",
    "fast_channels.worker",
    "fastapi",
    "httptools",
    "itsdangerous",
    "jwt",
    "pydantic.v1",
    "pydantic_settings",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.main",
    "uvicorn.protocols.http.httptools_impl",
)

PATIENCE = 60.0  # seconds

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(list(LIBRARIES))


class Program:
    """As ``python -m NAME ARGUMENTS``, with these variables alone, in this folder.

    It has no input. Its output goes to the end of `log`, what it says to the standard error to that of
    `errors` if there is one. A signal to the test run's group does not reach it. The number of `listening`,
    which it inherits, is its last argument.
    """

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str],
        log: Path,
        errors: Path | None = None,
        listening: socket.socket | None = None,
    ) -> None:
        log.touch()  # there to be read at once
        program = (arguments, cwd, dict(env), log, errors or log, listening)
        self._process = FORKS.Process(
            target=runpy.run_path,  # which the new process finds without this package
            args=(forked.__file__, {"program": program}, forked.__name__),
            daemon=True,  # the test runner does not wait for it at its own end
        )
        self._process.start()
        guardian.watch_process(self.pid)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def status(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._process.exitcode

    def wait(self, seconds: float | None = None) -> int:
        """Its status; `TimeoutError` if it runs longer."""
        self._process.join(seconds)
        if self.status is None:
            raise TimeoutError(f"process {self.pid} has not ended within {seconds} s")
        guardian.forget_process(self.pid)
        return self.status

    def send_signal(self, number: signal.Signals) -> None:
        """Nothing if it has ended."""
        if self.status is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """And wait for its end."""
        self.send_signal(signal.SIGKILL)
        self.wait()


@dataclass
class Ended:
    status: int
    output: str
    errors: str


def run(*arguments: str, cwd: Path, env: Mapping[str, str], seconds: float = PATIENCE) -> Ended:
    """A program that ends by itself."""
    with TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        program = Program(*arguments, cwd=cwd, env=env, log=output, errors=errors)
        try:
            status = program.wait(seconds)
        finally:
            program.kill()
        return Ended(status, *(path.read_text(errors="replace") for path in (output, errors)))
