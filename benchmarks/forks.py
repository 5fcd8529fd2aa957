"""Processes that are forked from one that has imported the packages, instead of started anew.

The quick form starts some 200 for work that takes a moment: most of its time would be imports. Figures
are never taken this way.

Invariants
- A fork is a process of its own, with the environment, arguments, pipes and descriptors that it would
  have been started with, and runs its module as ``python -m`` does.
- What it has imported are packages of the index. The runtime that is measured is not among them: each
  fork finds its own by PYTHONPATH.
- The process that forks has one thread and no event loop, and opens nothing.
"""

import fcntl
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any, NoReturn

PACKAGES = (
    "cryptography.fernet",
    "django.urls",
    "litestar",
    "litestar.channels",
    "litestar.plugins.pydantic",
    "msgpack",
    "pydantic",
    "redis.asyncio",
    "socketio",
    "starlette.applications",
    "uvicorn.main",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_impl",
    "uvloop",
    "websockets.asyncio.client",
)
FREE = 100  # descriptors from this one on are those that came, until each has its own number
MOST = 16  # descriptors that come at once


class Forked:
    """As much of a ``subprocess.Popen`` as the runner uses. `alive` is at its end when the process is."""

    def __init__(
        self, pid: int, stdin: IO[bytes] | None, stdout: IO[bytes] | None, alive: int
    ) -> None:
        self.pid, self.stdin, self.stdout = pid, stdin, stdout
        self._alive = os.fdopen(alive, "rb", 0)

    def poll(self) -> int | None:
        return 0 if self._has_ended(0) else None

    def wait(self) -> int:
        self._has_ended(None)
        return 0

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def communicate(self) -> None:
        self.wait()
        for file in (self.stdin, self.stdout):
            if file is not None:
                file.close()

    def _has_ended(self, timeout: float | None) -> bool:
        if self._alive.closed:
            return True
        if ended := bool(select.select([self._alive], [], [], timeout)[0]):
            self._alive.close()
        return ended


class Forks:
    """The process that forks, from outside."""

    def __init__(self, cwd: str, env: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def close(self) -> None:
        self._socket.close()
        self._process.wait()

    def fork(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        pipes: tuple[int, int, int],
        pass_fds: Sequence[int],
    ) -> tuple[int, int]:
        """Its process id, and a descriptor that is at its end when the process is."""
        alive, held = os.pipe()
        numbers = [0, 1, 2, *pass_fds]
        order = {"command": command, "env": dict(env), "numbers": numbers}
        line = json.dumps(order).encode() + b"\n"
        try:
            with self._lock:
                socket.send_fds(self._socket, [line[:1]], [held, *pipes, *pass_fds])
                self._socket.sendall(line[1:])
                return int(_line(self._socket)), alive
        finally:
            os.close(held)


def _line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        data = connection.recv(65536)
        if not data:
            raise EOFError("the process that forks has ended")
        line += data
    return line


_forks: Forks | None = None


@contextmanager
def in_use(cwd: str, env: Mapping[str, str]) -> Iterator[None]:
    """Within it `start` forks."""
    global _forks
    _forks = Forks(cwd, env)
    try:
        yield
    finally:
        _forks.close()
        _forks = None


def start(
    command: Sequence[str],
    *,
    cwd: str,
    env: Mapping[str, str],
    piped: bool,
    errors: IO[bytes],
    pass_fds: Sequence[int] = (),
) -> "subprocess.Popen[bytes] | Forked":
    """``python -m command``, with pipes for its input and output or both into `errors`."""
    if _forks is None:
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=cwd,
            env=env,
            stdin=subprocess.PIPE if piped else None,
            stdout=subprocess.PIPE if piped else errors,
            stderr=errors,
            pass_fds=pass_fds,
        )
    with ExitStack() as theirs:
        ours: list[IO[bytes]] = []
        if piped:
            (stdin, writing), (reading, stdout) = os.pipe(), os.pipe()
            ours = [os.fdopen(writing, "wb", 0), os.fdopen(reading, "rb", 0)]
        else:
            stdin, stdout = os.open(os.devnull, os.O_RDONLY), os.dup(errors.fileno())
        theirs.callback(os.close, stdin)
        theirs.callback(os.close, stdout)
        pid, alive = _forks.fork(command, env, (stdin, stdout, errors.fileno()), pass_fds)
    return Forked(pid, *(ours or (None, None)), alive)


def main(connection: socket.socket) -> None:
    """Fork for each line that comes, until no more can."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a server of uvicorn's has its own say
        for name in PACKAGES:
            importlib.import_module(name)
    gc.freeze()
    while True:
        first, (*descriptors,), _, _ = socket.recv_fds(connection, 1, MOST)
        with suppress(ChildProcessError):  # there is none
            while os.waitpid(-1, os.WNOHANG if first else 0)[0]:
                """Another one that has ended."""
        if not first:
            return
        order = json.loads(first + _line(connection))
        if (pid := os.fork()) == 0:
            connection.close()
            _become(order, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        connection.sendall(b"%d\n" % pid)


def _become(order: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """The first of the descriptors stays open, for whoever waits at its other end."""
    _, *others = (fcntl.fcntl(one, fcntl.F_DUPFD, FREE) for one in descriptors)
    for one in descriptors:
        os.close(one)
    for one, number in zip(others, order["numbers"], strict=True):
        os.dup2(one, number)
        os.close(one)
    os.environ.clear()
    os.environ.update(order["env"])
    sys.path[1:1] = [part for part in order["env"].get("PYTHONPATH", "").split(os.pathsep) if part]
    module, *arguments = order["command"]
    sys.argv = [module, *arguments]
    status: Any = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as error:
        status = error.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        main(orders)
