"""Long commands beside the tests: they run at once, and end with the run."""

import time
from pathlib import Path

from beside import AT_ONCE, Commands


def test_commands_run_at_once(tmp_path: Path) -> None:
    """Each waits here for the file of the next one, and the last writes its own first."""
    commands = Commands()
    for number in range(AT_ONCE):
        wait = f"while [ ! -e {number + 1} ]; do sleep 0.05; done; " if number < AT_ONCE - 1 else ""
        script = f"{wait}touch {number}; echo {number}"
        commands.submit(str(number), "sh", "-c", script, cwd=tmp_path, env={})
    said = [commands.result(str(number)).stdout for number in range(AT_ONCE)]
    commands.close()
    assert said == [f"{number}\n" for number in range(AT_ONCE)]


def test_a_run_that_ends_early_waits_for_none(tmp_path: Path) -> None:
    """What is under way is ended, and what has not begun does not begin."""
    commands = Commands()
    for number in range(AT_ONCE + 1):
        commands.submit(
            str(number), "sh", "-c", f"touch {number}; exec sleep 600", cwd=tmp_path, env={}
        )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < AT_ONCE and time.monotonic() < deadline:
        time.sleep(0.05)
    began = time.monotonic()
    commands.close()
    assert time.monotonic() - began < 60
    assert len(list(tmp_path.iterdir())) == AT_ONCE
