"""The browser's module by itself, under Node's test runner. Where there is no Node the summary says so."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="needs Node.js 20 or later: nodejs.org")
def test_realtime_js() -> None:
    """Questions and answers, attempts, groups that go on where they broke off, renewal."""
    (module,) = (HERE.parents[1] / "src").glob("*/static/realtime.js")
    done = subprocess.run(
        [str(NODE), "--test", HERE / "realtime.test.mjs"],
        env={**os.environ, "REALTIME": str(module)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
