"""Processes of the app: each with its own settings, log and life."""

import os
import signal
import socket
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path
from typing import Self

from {{ cookiecutter.project_slug }}.settings import Settings

from ..fast_channels.support.programs import Ended, Program, run
from ..fast_channels.support.redis_servers import wait_until
from ..fast_channels.support.redis_servers.ports import HOST, free_port

PACKAGE = "{{ cookiecutter.project_slug }}"
WEBSOCKET_PROTOCOL = "fast_channels.server:WebSocketProtocol"  # as in Makefile and Dockerfile
START_SECONDS = 30.0
STOP_SECONDS = 20.0
PORT_ATTEMPTS = 5


class ProcessFailed(RuntimeError):
    """A process did not start or end as it should; the text ends with its log."""


def environment(settings: dict[str, str]) -> dict[str, str]:
    """The variables of a process: `settings`, such as REDIS_URL, instead of the developer's own."""
    own = {field.upper() for field in Settings.model_fields}
    return {name: value for name, value in os.environ.items() if name not in own} | settings


class AppProcess(ABC):
    """Runs with `settings` in `folder`, which holds its log and no .env file."""

    name = "app"

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self._environment = environment(settings)
        self._folder = folder
        self._log = folder / f"{self.name}-{id(self):x}.log"
        self._said_before = 0
        self._process: Program | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'running' if self.alive else 'not running'}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.status is None

    @property
    def log(self) -> str:
        """What it has said so far, all its lives together."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @abstractmethod
    def arguments(self) -> list[str]:
        """The module to run, and its own arguments."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it does its work; an `OSError` means not yet."""

    def start(self) -> None:
        """Start unless it runs, and wait until it is ready."""
        if self.alive:
            return
        self._said_before = len(self.log)
        self._process = Program(
            *self.arguments(), cwd=self._folder, env=self._environment, log=self._log
        )
        try:
            wait_until(self._is_up, what=f"{self!r} to be ready", timeout=START_SECONDS)
        except (TimeoutError, ProcessFailed) as error:
            self.kill()
            raise ProcessFailed(f"{error}\n{self.log}") from None

    def stop(self) -> int:
        """End it as an operator does (SIGTERM); the exit status, which is negative for a signal."""
        if self._process is None:
            raise RuntimeError(f"{self!r} was not started")
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_SECONDS)
        except TimeoutError:
            raise ProcessFailed(f"{self!r} ignores SIGTERM\n{self.log}") from None
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL: no farewell to anybody."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def said(self) -> str:
        """What it has said since it was started the last time."""
        return self.log[self._said_before :]

    def _is_up(self) -> bool:
        if not self.alive:
            raise ProcessFailed(f"{self!r} exited at once")
        return self.is_ready()


class WebProcess(AppProcess):
    """A uvicorn on a port of its own, which it keeps when it is stopped and started again."""

    name = "web"
    port = 0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def arguments(self) -> list[str]:
        return [
            *("uvicorn", f"{PACKAGE}.main:app", "--ws", WEBSOCKET_PROTOCOL),
            *("--host", HOST, "--port", str(self.port)),
        ]

    def is_ready(self) -> bool:
        with socket.create_connection((HOST, self.port), timeout=1):
            return True

    def start(self) -> None:
        if self.port:
            super().start()
            return
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self.port = free_port()
            try:
                super().start()
                return
            except ProcessFailed:
                self.port = 0
                # Somebody else took the port between our look and the server's bind.
                if "address already in use" not in self.said() or attempt == PORT_ATTEMPTS:
                    raise


class WorkerProcess(AppProcess):
    name = "worker"

    def arguments(self) -> list[str]:
        return [f"{PACKAGE}.worker"]

    def is_ready(self) -> bool:
        return "Worker takes messages of jobs" in self.said()


def run_program(folder: Path, *arguments: str, **settings: str) -> Ended:
    """Run a module, such as the worker's, to its end."""
    return run(*arguments, cwd=folder, env=environment(settings))


@dataclass
class Processes:
    """Two web processes and a worker."""

    a: WebProcess
    b: WebProcess
    worker: WorkerProcess

    def start(self) -> None:
        """Start those that do not run."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(methodcaller("start"), self.all()))

    def all(self) -> tuple[AppProcess, ...]:
        return (self.a, self.b, self.worker)
