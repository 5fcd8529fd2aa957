"""Long commands beside the tests: they run at once, and end with the run."""

import os
import sys
import time
from pathlib import Path

import pytest

from beside import AT_ONCE, Commands, Place, command
from rendering import run, share_bytecode


def place(folder: Path, commands: Commands) -> Place:
    return Place(folder, folder, folder, lambda project: {}, commands.running)


def test_commands_run_at_once(tmp_path: Path) -> None:
    """Each waits here for the file of the next one, and the last writes its own first."""
    commands = Commands()
    for number in range(AT_ONCE):
        wait = f"while [ ! -e {number + 1} ]; do sleep 0.05; done; " if number < AT_ONCE - 1 else ""
        script = f"{wait}touch {number}; echo {number}"
        commands.submit(str(number), command("sh", "-c", script), place(tmp_path, commands))
    said = [commands.result(str(number)).stdout for number in range(AT_ONCE)]
    commands.close()
    assert said == [f"{number}\n" for number in range(AT_ONCE)]


def test_a_run_that_ends_early_waits_for_none(tmp_path: Path) -> None:
    """What is under way is ended, and what has not begun does not begin."""
    commands = Commands()
    for number in range(AT_ONCE + 1):
        script = f"touch {number}; exec sleep 600"
        commands.submit(str(number), command("sh", "-c", script), place(tmp_path, commands))
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < AT_ONCE and time.monotonic() < deadline:
        time.sleep(0.05)
    began = time.monotonic()
    commands.close()
    assert time.monotonic() - began < 60
    assert len(list(tmp_path.iterdir())) == AT_ONCE


def test_what_several_name_is_done_once(tmp_path: Path) -> None:
    """Each of them gets what came of it, which may be an error."""
    commands = Commands()
    times = []

    def work(place: Place) -> str:
        times.append(place.folder)
        raise ValueError("not today")

    for _ in range(3):
        commands.submit("work", work, place(tmp_path, commands))
    for _ in range(3):
        with pytest.raises(ValueError, match="not today"):
            commands.result("work")
    commands.close()
    assert times == [tmp_path]


def test_what_is_compiled_is_shared_where_the_source_is_the_same(tmp_path: Path) -> None:
    """Of the same size and time is not enough: another source is compiled by itself."""
    one, other = (tmp_path / name for name in ("one", "other"))
    for project, answer in ((one, 1), (other, 2)):
        (project / "src").mkdir(parents=True)
        (project / "src" / "same.py").write_text("answer = 0\n")
        (project / "src" / "differing.py").write_text(f"answer = {answer}\n")
    compiled = run(sys.executable, "-m", "compileall", "-q", "src", cwd=one)
    assert compiled.returncode == 0, compiled.stdout
    for path in (one / "src").glob("*.py"):
        os.utime(other / "src" / path.name, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    share_bytecode(one, other)
    program = "import sys, same, differing; print(same.answer, differing.answer)"
    said = run(sys.executable, "-v", "-c", program, cwd=other / "src").stdout
    assert "0 2" in said.splitlines()
    assert f"matches {other / 'src' / 'same.py'}" in said
    assert f"matches {other / 'src' / 'differing.py'}" not in said
