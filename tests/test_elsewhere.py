"""The runtime and its tests in another project: two folders are copied, and all of them run there."""

import re
import shutil

import pytest

from beside import Done, Place
from rendering import ROOT, TEMPLATE, share_bytecode

# One file of each kind: with nothing, with Redis, with processes of their own, with faults.
SOME = [
    "test_mailbox.py",
    "test_public_api.py",
    "test_channels.py",
    "test_rfc_closing.py",
    "test_worker_process.py",
    "test_counts.py",
]
IGNORED = shutil.ignore_patterns("__pycache__", ".*_cache")


def there(place: Place) -> tuple[Done, Done]:
    """Both in a project that has these two folders, and the settings that the documentation names."""
    project = place.folder
    for folder in ("src/fast_channels", "tests/fast_channels"):
        shutil.copytree(TEMPLATE / folder, project / folder, ignore=IGNORED)
    share_bytecode(place.project, project)
    shutil.copy(ROOT / "docs" / "examples" / "elsewhere.toml", project / "pyproject.toml")
    some = ("pytest", "-q", "-k", " or ".join(SOME), "tests/fast_channels")
    tests = place.run("uv", "run", *some, cwd=project)
    faults = ("python", "-m", "tests.fast_channels.faults", "--rounds", "1", "--cases", "worker")
    sources = {"PYTHONPATH": "src"}
    return tests, place.run("uv", "run", *faults, cwd=project, env=sources)


in_another_project = pytest.mark.beside(there, seconds=45)


@in_another_project
@pytest.mark.timeout(2400)
def test_every_test_is_found(done: tuple[Done, Done]) -> None:
    """No helper, no fixture and no package is missing."""
    said = done[0].stdout
    assert sum(map(int, re.findall(r"(\d+) (?:passed|deselected)", said))) > 3000, said


@in_another_project
@pytest.mark.timeout(2400)
def test_some_of_each_kind_pass(done: tuple[Done, Done]) -> None:
    """On Redis servers, behind Sentinels and on a Cluster, which they start themselves."""
    assert done[0].returncode == 0, done[0].stdout
    assert int(re.findall(r"(\d+) passed", done[0].stdout)[0]) > 80


@in_another_project
@pytest.mark.timeout(2400)
def test_faults_are_made_there(done: tuple[Done, Done]) -> None:
    """The harness starts its processes from wherever its folder is."""
    assert done[1].returncode == 0, done[1].stdout
    assert "Every promise was kept." in done[1].stdout
