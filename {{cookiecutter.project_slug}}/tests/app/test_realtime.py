"""The browser's module by itself, under Node's test runner, and the size of what the browser gets.

Where there is no Node the summary says so.
"""

import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NODE = shutil.which("node")
(MODULE,) = (HERE.parents[1] / "src").glob("*/static/realtime.js")


@pytest.mark.skipif(NODE is None, reason="needs Node.js 20 or later: nodejs.org")
def test_realtime_js() -> None:
    """Questions and answers, attempts, groups that go on where they broke off, renewal."""
    done = subprocess.run(
        [str(NODE), "--test", HERE / "realtime.test.mjs"],
        env={**os.environ, "REALTIME": str(MODULE)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_realtime_js_stays_small_and_alone() -> None:
    """As it is, with its comments, below 4 kB on the wire; it imports nothing and knows no page."""
    text = MODULE.read_text(encoding="utf-8")
    assert len(gzip.compress(text.encode())) < 4_000
    assert not re.search(r"^import|getElementById|querySelector", text, re.MULTILINE)


def test_the_page_stays_small_enough_to_read() -> None:
    """All of its JavaScript, with comments and blank lines, in lines that an editor shows."""
    paths = MODULE.parent.glob("*.js")
    lines = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) < 700
    assert max(map(len, lines)) <= 120
