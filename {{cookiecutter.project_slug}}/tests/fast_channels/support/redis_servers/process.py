"""One server process: its folder, port, log and life."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .binary import require_redis_server
from .guardian import guardian
from .ports import HOST, free_port
from .waiting import wait_until

START_SECONDS = 20.0
STOP_SECONDS = 5.0
PORT_ATTEMPTS = 5

Directive = tuple[str, ...]


class ServerFailed(RuntimeError):
    """A server did not start; the text ends with its log."""


class Borrowed:
    """What another process of the test run has started: it runs as long as anybody uses it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> None:
        """It has no status."""


class RedisProcess:
    """A `redis-server` that a subclass configures.

    `stop()`, `kill()` and `restart()` keep port, configuration and data, as on a real machine.
    `close()`, or the end of a `with` block, ends the process and removes the folder. A copy that another
    process gets by pickle can be asked, but neither stopped nor paused.
    """

    arguments: tuple[str, ...] = ()
    cluster = False

    def __init__(self, *, password: str | None = None) -> None:
        self.binary = require_redis_server()
        self.host = HOST
        self.port = 0
        self.password = password
        self.directory = Path()
        self._process: subprocess.Popen[bytes] | Borrowed | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_process": Borrowed(self.pid) if self.alive else None}

    def __repr__(self) -> str:
        state = f"pid {self.pid}" if self.alive else "not running"
        return f"<{type(self).__name__} {self.address} {state}>"

    def __enter__(self) -> Self:
        if not self.alive:
            self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{userinfo(self.password)}{self.address}/0"

    @property
    def alive(self) -> bool:
        """Whether the process exists; a paused one does."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return (self._process or self._running()).pid

    @property
    def config(self) -> Path:
        return self.directory / "redis.conf"

    @property
    def log(self) -> str:
        """What the process has said so far, all its lives together."""
        path = self.directory / "redis.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def directives(self) -> Iterable[Directive]:
        """The lines of the configuration file, each a name and its arguments."""
        raise NotImplementedError

    def start(self) -> None:
        """Start and wait until it answers; raise `ServerFailed` with the log if it does not."""
        if self.alive:
            raise RuntimeError(f"{self!r} runs already")
        if self.port:
            self._start_on_port()
            return
        self.directory = Path(tempfile.mkdtemp(prefix="redis-test-"))
        guardian.watch_folder(self.directory)
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self.port = free_port(cluster=self.cluster)
            self._write_config()
            try:
                self._start_on_port()
                return
            except ServerFailed:
                # Somebody else took the port between our look and the server's bind.
                if "Address already in use" not in self.log or attempt == PORT_ATTEMPTS:
                    raise

    def stop(self) -> None:
        """End it as an operator does (SIGTERM); what does not end in 5 s is killed."""
        if not self.alive:
            return
        self.resume()
        process = self._running()
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """SIGKILL: no farewell to clients, nothing flushed."""
        if self._process is None:
            return
        process = self._running()
        process.kill()
        process.wait()
        guardian.forget_process(process.pid)
        self._process = None

    def pause(self) -> None:
        """SIGSTOP: connections stay open and are not answered, as when a host hangs."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        if hasattr(os, "waitid"):  # Not on macOS before Python 3.13; there it stops a moment later.
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop if it runs, then start on the same port and data."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Kill it and remove its folder; it cannot be started again."""
        self.kill()
        if self.port:
            shutil.rmtree(self.directory, ignore_errors=True)

    def execute(self, *command: str | int, timeout: float = 2.0) -> Any:
        """One command over a connection of its own; the reply in redis-py's form, as text."""
        client = redis.Redis(
            host=self.host,
            port=self.port,
            password=self.password,
            protocol=2,
            decode_responses=True,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
        )
        with client:
            reply: Any = client.execute_command(*command)  # type: ignore[no-untyped-call]
            return reply

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{type(self).__name__} on {self.address} does not run")
        if isinstance(self._process, Borrowed):
            raise RuntimeError(f"{self!r} is another process's")
        return self._process

    def _write_config(self) -> None:
        common: list[Directive] = [
            ("bind", self.host),
            ("port", str(self.port)),
            ("dir", str(self.directory)),
        ]
        lines = (" ".join((name, *map(_quoted, values))) for name, *values in self._all(common))
        self.config.write_text("\n".join(lines) + "\n")

    def _all(self, common: list[Directive]) -> Iterable[Directive]:
        yield from common
        if self.password:
            yield ("requirepass", self.password)
        yield from self.directives()

    def _start_on_port(self) -> None:
        with (self.directory / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.binary), str(self.config), *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,  # Ctrl-C must not end it before the tests that use it.
            )
        guardian.watch_process(self._process.pid)
        try:
            wait_until(self._answers, what=f"{self!r} to answer", timeout=START_SECONDS)
        except (TimeoutError, _Exited) as error:
            self.kill()
            raise ServerFailed(f"{error}\n{self.log}") from None

    def _answers(self) -> bool:
        if not self.alive:
            raise _Exited(f"{self.binary} exited at once")
        # The id, because on a port that was lost to another server, that one would answer.
        return bool(self.execute("INFO", "server")["process_id"] == self.pid)


class _Exited(Exception):
    pass


def userinfo(password: str | None) -> str:
    """The part of a URL before the host: `:password@`, or nothing."""
    return f":{quote(password, safe='')}@" if password else ""


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
