"""Processes of the harness: a web server or a worker, with a log, that can be frozen and killed."""

import os
import signal
import socket
from pathlib import Path
from typing import Self

from ..support.children import PYTHONPATH, TESTS
from ..support.programs import Program
from ..support.redis_servers.ports import HOST


class Process:
    """Runs a module of this package with arguments; its output goes to `log`, that of all its lives."""

    def __init__(self, log: Path, module: str, *arguments: str, **environment: str) -> None:
        self.log = log
        self._module = f"{TESTS}.faults.{module}"
        self._arguments = arguments
        self._environment = os.environ | {"PYTHONPATH": PYTHONPATH} | environment
        self._process: Program | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    @property
    def errors(self) -> int:
        """How many tracebacks it has logged."""
        return self.log.read_text(errors="replace").count("Traceback (most recent call last)")

    @property
    def last_words(self) -> str:
        """The end of its log, under its name."""
        return f"--- {self.log.name}\n{self.log.read_text(errors='replace')[-3000:]}\n"

    def start(self) -> None:
        self._spawn()

    def kill(self) -> None:
        """SIGKILL: no farewell to anybody; a process that does not run is left alone."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def stop(self, within: float = 30.0) -> None:
        """SIGTERM, and wait: it closes its sockets and ends in order."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(within)
            self._process = None

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError(f"{self._module} does not run")
        self._process.send_signal(number)

    def _spawn(self, listening: socket.socket | None = None) -> None:
        self._process = Program(
            self._module,
            *self._arguments,
            cwd=self.log.parent,
            env=self._environment,
            log=self.log,
            listening=listening,
        )


class WebProcess(Process):
    """Serves `faults.app`. It inherits a socket that listens already: who connects need not wait
    for it to be ready, and nobody else can take its port.
    """

    def __init__(self, log: Path, **environment: str) -> None:
        super().__init__(log, "app", **environment)
        self.address = ""

    def start(self) -> None:
        with socket.create_server((HOST, 0), backlog=512) as listening:
            self.address = f"{HOST}:{listening.getsockname()[1]}"
            self._spawn(listening)
