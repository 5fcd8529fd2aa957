"""The runtime and its tests in another project: two folders are copied, and all of them run there."""

import re
import shutil
from pathlib import Path

import pytest

from rendering import ROOT, TEMPLATE, run

# One file of each kind: with nothing, with Redis, with processes of their own, with faults.
SOME = [
    "unit/test_mailbox.py",
    "unit/test_public_api.py",
    "contract/test_channels.py",
    "server/test_rfc_closing.py",
    "unit/test_worker_process.py",
    "faults/test_counts.py",
]
IGNORED = shutil.ignore_patterns("__pycache__", ".*_cache")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has these two folders, and the settings that the documentation names."""
    project = tmp_path_factory.mktemp("elsewhere")
    for folder in ("src/fast_channels", "tests/fast_channels"):
        shutil.copytree(TEMPLATE / folder, project / folder, ignore=IGNORED)
    shutil.copy(ROOT / "docs" / "examples" / "elsewhere.toml", project / "pyproject.toml")
    return project


def pytest_there(project: Path, *arguments: str) -> str:
    done = run("uv", "run", "pytest", "-q", *arguments, cwd=project)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.timeout(600)
def test_every_test_is_found(elsewhere: Path) -> None:
    """No helper, no fixture and no package is missing."""
    said = pytest_there(elsewhere, "--collect-only")
    assert int(re.findall(r"(\d+) tests collected", said)[0]) > 3000


@pytest.mark.timeout(600)
def test_some_of_each_kind_pass(elsewhere: Path) -> None:
    """On Redis servers, behind Sentinels and on a Cluster, which they start themselves."""
    said = pytest_there(elsewhere, *(f"tests/fast_channels/{name}" for name in SOME))
    assert re.search(r"\d+ passed", said)


@pytest.mark.timeout(600)
def test_faults_are_made_there(elsewhere: Path) -> None:
    """The harness starts its processes from wherever its folder is."""
    faults = ("uv", "run", "python", "-m", "tests.fast_channels.faults")
    sources = {"PYTHONPATH": "src"}
    done = run(*faults, "--rounds", "1", "--cases", "worker", cwd=elsewhere, env=sources)
    assert done.returncode == 0, done.stdout
    assert "Every promise was kept." in done.stdout
