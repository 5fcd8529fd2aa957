"""Says every 15 s what a long test is doing: its name, its time, and the last line of its command.

pytest is quiet until a test has ended, and some of them run a whole suite of tests for minutes.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

INTERVAL = 15.0  # seconds

# Where the commands that run now write to, the latest last.
outputs: list[Path] = []


def terminal() -> TextIO:
    """The real output, also while pytest captures what tests print; open it before it does."""
    return os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")


def last_line() -> str:
    """Of the command that runs; empty if there is none, or it is silent."""
    try:
        lines = outputs[-1].read_text(encoding="utf-8", errors="replace").split("\n")
    except (IndexError, OSError):
        return ""
    return next((f": {line.strip()[-100:]}" for line in reversed(lines) if line.strip()), "")


@contextmanager
def told(name: str, to: TextIO, interval: float = INTERVAL) -> Iterator[None]:
    """Write a line to ``to`` every ``interval`` seconds, until the block ends."""
    over = threading.Event()
    started = time.monotonic()

    def tell() -> None:
        while not over.wait(interval):
            print(
                f"\n  {name}, {time.monotonic() - started:.0f} s{last_line()}", file=to, flush=True
            )

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
