"""The documentation builds without a warning, and its examples run as they are printed."""

import re
import shutil
from pathlib import Path

import pytest

from conftest import Render
from rendering import ROOT, run

EXAMPLES = ROOT / "docs" / "examples"


@pytest.mark.timeout(600)
def test_the_documentation_builds(tmp_path: Path) -> None:
    """Sphinx with warnings as errors."""
    command = ["uv", "run", "--locked", "--group", "docs", "sphinx-build", "--quiet"]
    built = run(*command, "--fail-on-warning", "docs", str(tmp_path), cwd=ROOT, timeout=580)
    assert built.returncode == 0, built.stdout
    assert (tmp_path / "index.html").is_file()


@pytest.mark.timeout(600)
def test_the_examples_run(render: Render) -> None:
    """The examples pass as tests of a generated project in which the tutorial's changes were made."""
    project = render()
    applied = run("git", "apply", str(EXAMPLES / "roll.diff"), cwd=project)
    assert applied.returncode == 0, applied.stdout
    (project / "tests" / "examples").mkdir()
    for example in EXAMPLES.glob("test_*.py"):
        shutil.copy(example, project / "tests" / "examples")
    tested = run("make", "test", "ARGS=tests/examples", cwd=project, timeout=580)
    assert tested.returncode == 0, tested.stdout
    assert re.search(r"\d+ passed", tested.stdout)
