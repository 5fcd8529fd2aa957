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

# Where the commands that run now write to -> the thread that waits for it.
outputs: dict[Path, int] = {}


def terminal() -> TextIO:
    """The real output, also while pytest captures what tests print; open it before it does."""
    return os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")


def last_line(thread: int) -> str:
    """Of this thread's command, or else of any that has said something last; empty if none has."""
    try:
        running = dict(outputs)
        own = [output for output, waiting in running.items() if waiting == thread]
        latest = max(own or running, key=lambda output: output.stat().st_mtime)
        lines = latest.read_text(encoding="utf-8", errors="replace").split("\n")
    except (ValueError, OSError):
        return ""
    return next((f": {line.strip()[-100:]}" for line in reversed(lines) if line.strip()), "")


@contextmanager
def told(name: str, to: TextIO, interval: float = INTERVAL) -> Iterator[None]:
    """Write a line to ``to`` every ``interval`` seconds, until the block ends."""
    over = threading.Event()
    started = time.monotonic()
    thread_id = threading.get_ident()

    def tell() -> None:
        while not over.wait(interval):
            print(
                f"\n  {name}, {time.monotonic() - started:.0f} s{last_line(thread_id)}",
                file=to,
                flush=True,
            )

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
