"""The socket protocol: Autobahn's cases against it, and its tests at both ends of what it may run on.

The cases are run by kosoku. Of those of compression (12.* and 13.*, 216 of them, each with 1,000
messages) six stand for all: with all, ``AUTOBAHN_CASES='*' make test ARGS="-k autobahn"``, kosoku 0.1
itself fails in some 40, whose bytes it takes for text, and gives up where a machine is slow.
"""

import asyncio
import os
import re
import socket
import subprocess
import time
import tomllib
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from kosoku import FailureError, run_fuzzingclient
from kosoku._kosoku import CaseResult

from beside import Done, Place, Work
from rendering import environment

COMPRESSION = ["12.1.5", "12.2.5", "13.1.5", "13.3.5", "13.5.5", "13.7.5"]
TESTS = [
    f"tests/fast_channels/server/test_{name}.py"
    for name in ("handshake", "limits", "endings", "deflate", "fuzz")
]


@contextmanager
def echo_server(project: Path, protocol: str) -> Iterator[str]:
    """An echo server of the project in a process of its own; gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        *(
            "uv",
            "run",
            "--locked",
            "python",
            "-m",
            "uvicorn",
            "tests.fast_channels.support.asgi_apps:echo",
            "--port",
            str(port),
        ),
        *("--ws", f"fast_channels.server:{protocol}", "--lifespan", "off"),
        *("--ws-max-size", str(32 * 2**20), "--log-level", "critical"),  # cases of 16 MiB
    ]
    with subprocess.Popen(command, cwd=project, env=environment(PYTHONPATH=".")) as process:
        try:
            _wait_until_it_listens(port)
            yield f"ws://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_until_it_listens(port: int) -> None:
    deadline = time.monotonic() + 120
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.1)


def verdicts(
    url: str, cases: list[str], concurrency: int = 4
) -> tuple[Counter[str], dict[str, str]]:
    """How many cases had which result; and those that did not pass, with why."""

    async def all_of_them() -> list[CaseResult]:
        try:
            return list(await run_fuzzingclient(url, cases, concurrency=concurrency))
        except FailureError as error:
            return list(error.results)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # kosoku does not close its files
        results = asyncio.run(all_of_them())
    counts = Counter(result.behavior.value for result in results)
    failed = {
        result.case_id: f"{result.behavior.value}: {result.result}; {result.result_close}"
        for result in results
        if not result.passed
    }
    return counts, failed


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("protocol", "compression"),
    [("WebSocketProtocol", []), ("CompressedWebSocketProtocol", COMPRESSION)],
)
def test_autobahn(protocol: str, compression: list[str], installed: Path) -> None:
    """Nothing fails: frames, fragments, texts, closing, 16 MiB; compression where there is any."""
    cases = [*(f"{number}.*" for number in (1, 2, 3, 4, 5, 6, 7, 9, 10)), *compression]
    if compression and "AUTOBAHN_CASES" in os.environ:
        cases = os.environ["AUTOBAHN_CASES"].split()
    with echo_server(installed, protocol) as url:
        counts, failed = verdicts(url, cases)
        if (
            failed
        ):  # its clock runs out where many cases at once are slow: each by itself, once more
            failed = verdicts(url, [*failed], concurrency=1)[1]
    print(f"{protocol}: {dict(counts)}")
    assert failed == {}
    assert sum(counts.values()) == 301 + len(compression) or "AUTOBAHN_CASES" in os.environ


def bounds(project: Path, package: str) -> tuple[str, str]:
    """The lowest version that the project allows, and the first one that it does not."""
    data = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    for requirement in data["project"]["dependencies"]:
        if found := re.fullmatch(rf"{package}(?:\[\w+\])?>=([\d.]+),<([\d.]+)", requirement):
            return found[1], found[2]
    raise AssertionError(f"{package} has no lower and upper bound")


def at_the_end(place: Place, end: str) -> Done | None:
    """Nothing where the end is what the lock has: make test-runtime runs the same with the same."""
    project = place.project
    wanted = []
    for package in ("uvicorn", "websockets"):
        lowest, beyond = bounds(project, package)
        wanted.append(f"{package}=={lowest}" if end == "lowest" else f"{package}<{beyond}")
    overlay = [argument for one in wanted for argument in ("--with", one)]
    program = "import uvicorn, websockets; print(uvicorn.__version__, websockets.__version__)"

    def versions(*arguments: str) -> str:
        said = place.run("uv", "run", "--locked", *arguments, "python", "-c", program, cwd=project)
        assert said.returncode == 0, said.stdout
        return said.stdout.splitlines()[-1]

    tried = versions(*overlay)
    if tried == versions():
        return None
    command = ["uv", "run", "--locked", *overlay, "python", "-m", "pytest", "-q", "-n", "0", *TESTS]
    return place.run(*command, cwd=project)


def lowest(place: Place) -> Done | None:
    return at_the_end(place, "lowest")


def highest(place: Place) -> Done | None:
    return at_the_end(place, "highest")


@pytest.mark.timeout(2400)
@pytest.mark.parametrize(
    "end",
    [pytest.param(end, marks=pytest.mark.beside(end, seconds=40)) for end in (lowest, highest)],
)
def test_both_ends_of_the_bounds(end: Work, done: Done | None) -> None:
    """The lowest versions, and whatever is the highest today, which the lock may not have yet."""
    if done is not None:
        assert done.returncode == 0, done.stdout[-20_000:]
        assert re.search(r"\d+ passed", done.stdout)
