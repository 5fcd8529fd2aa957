"""A test that takes long is seen to be under way."""

import io
import threading
import time
from pathlib import Path

import progress
from rendering import run


def test_a_long_command_is_heard_of(tmp_path: Path) -> None:
    """Its test is named with its time, beside the last line that the command has written."""
    heard = io.StringIO()
    script = "echo half of it; while [ ! -e go ]; do sleep 0.05; done; echo all of it"
    deadline = time.monotonic() + 60

    class Terminal(io.StringIO):
        def write(self, text: str) -> int:
            if "half of it" in text or time.monotonic() > deadline:
                (tmp_path / "go").touch()
            return heard.write(text)

    with progress.told("test_long", Terminal(), interval=0.1):
        done = run("sh", "-c", script, cwd=tmp_path)
    assert done.stdout == "half of it\nall of it\n"
    assert "  test_long, 0 s: half of it\n" in heard.getvalue()
    assert threading.get_ident() not in progress.outputs.values()
