"""A child process that speaks JSON lines with the runner: what it says, how it fails, how it ends."""

import json
import os
import select
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

from . import forks
from .cpus import Cores, pinned
from .store import ROOT


class ChildError(Exception):
    """A child ended, or said nothing, before it had said what was expected. The text is one line."""


class Child(AbstractContextManager["Child"]):
    """A Python module that runs with `options`, a JSON object, as its argument.

    `pass_fds` are file descriptors that it inherits under the same numbers.
    """

    def __init__(
        self,
        module: str,
        options: Mapping[str, Any],
        *,
        env: Mapping[str, str],
        cores: Cores = frozenset(),
        timeout: float = 60.0,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._unread = b""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        with pinned(cores):
            self._process = forks.start(
                [module, json.dumps(options)],
                cwd=ROOT,
                env=env,
                piped=True,
                errors=self._errors,
                pass_fds=pass_fds,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        """It has said all that it had to say: closing what it holds is not measured."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def hear(self) -> dict[str, Any]:
        """The next object that it prints."""
        stdout = self._process.stdout
        assert stdout is not None
        while b"\n" not in self._unread:
            left = self._deadline - time.monotonic()
            if left <= 0 or not select.select([stdout], [], [], left)[0]:
                raise ChildError(f"timed out after {self._timeout:.0f} s{self._last_words(': ')}")
            data = os.read(stdout.fileno(), 65536)
            if not data:
                status = self._process.wait()
                raise ChildError(self._last_words() or f"exited with status {status}")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        return said

    def tell(self, **message: Any) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(json.dumps(message).encode() + b"\n")
        stdin.flush()

    def _last_words(self, before: str = "") -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f"{before}{said[-1]}" if said else ""
