"""Ends what a test run started and removes its folders, however the run itself ends.

A small process of its own reads a pipe whose other end only the test run holds. When the run ends,
also by SIGKILL, the pipe closes and the guardian ends what is left. This needs no `atexit` (which a
killed run never reaches) and no PR_SET_PDEATHSIG (which fires when the *thread* that started the
server ends, thus also after `asyncio.to_thread(server.restart)`).
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO


class Guardian:
    """The test run's side: it says what exists. The process starts with the first word."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pipe: IO[str] | None = None

    def watch_process(self, pid: int) -> None:
        self._say("process", pid)

    def forget_process(self, pid: int) -> None:
        self._say("ended", pid)

    def watch_folder(self, folder: Path) -> None:
        self._say("folder", folder)

    def _say(self, word: str, value: object) -> None:
        with self._lock:
            if self._pipe is None:
                self._pipe = self._start()
            self._pipe.write(f"{word} {value}\n")
            self._pipe.flush()

    @staticmethod
    def _start() -> IO[str]:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C in the terminal is for the test run, not for us.
        )
        if process.stdin is None:
            raise RuntimeError("the guardian has no pipe to listen on")
        process.returncode = 0  # It outlives us by design; do not warn that it still runs.
        return process.stdin


guardian = Guardian()


def _watch() -> None:
    processes: set[int] = set()
    folders: list[str] = []
    for line in sys.stdin:
        word, value = line.rstrip("\n").split(" ", 1)
        if word == "process":
            processes.add(int(value))
        elif word == "ended":
            processes.discard(int(value))
        elif word == "folder":
            folders.append(value)
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _watch()
