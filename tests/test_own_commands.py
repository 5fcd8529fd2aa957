"""Every channel layer on every topology: green by the commands of its own Makefile.

`make lint`, `make test`, which is the app's tests, and `make test-runtime` run in the default variant, whole.
The five others have the same lock, Makefile, runtime and tests, to the byte (`test_bake` compares them), and
share its environment. What differs is Python in two files: the layers, of two kinds, and the broker of the
topology, of three. The default variant and two others hold each of the five once: there `make lint` runs, and
of the app's tests those files that meet what differs. In the last three, where no file is new, those run in
which layer and topology meet: what is said, and what an outage of Redis does to it.
"""

import re
import shutil

import pytest

from beside import Done
from conftest import VARIANTS
from rendering import TEMPLATE

ONE = VARIANTS[0]
# With the default one they have each layer and each topology.
TWO = (("pubsub", "sentinel"), ("queue", "cluster"))
LAST = [variant for variant in VARIANTS if variant not in (ONE, *TWO)]

# As the page's tests say them, which need Playwright to be imported.
PAGES = (TEMPLATE / "tests" / "app" / "pages.py").read_text(encoding="utf-8")
CHROMIUM_NAMES = re.findall(r'"(.+)"', PAGES.partition("CHROMIUM_NAMES = (")[2].partition(")")[0])

# The app's test files that meet layers.py or broker.py, the Python that tells the variants apart.
MEETING = re.compile(r'\bbroker\b|\bprocesses: Processes\b|"redis"|\blayers\b')
MET = (
    "chat",
    "jobs",
    "outage",
    "process_ends",
    "processes",
    "settings",
    "worker",
)
MEETING_EACH_OTHER = ("chat", "outage")


def on_redis(*names: str) -> str:
    """One process: to start three costs more than it saves. What is in memory has no broker."""
    return "ARGS=-n 0 -k 'not memory' " + " ".join(f"tests/app/test_{name}.py" for name in names)


pytestmark = pytest.mark.timeout(2400)


def passed(done: Done) -> None:
    print(done.stdout[-20_000:])
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d+ passed", done.stdout)


@pytest.mark.beside("make", "test-runtime", "ARGS=-n 3 --durations=10", seconds=180)
def test_the_runtimes_tests_pass(done: Done) -> None:
    """``make test-runtime``: units, the contract on each layer and topology, the socket protocol, faults."""
    passed(done)


@pytest.mark.beside("make", "test", "ARGS=-n 2 --durations=5", seconds=60)
def test_own_tests_pass(done: Done) -> None:
    """``make test``, the app's tests."""
    passed(done)


@pytest.mark.parametrize("variant", TWO, ids="-".join)
@pytest.mark.beside("make", "test", on_redis(*MET), seconds=50)
def test_what_differs_passes(variant: tuple[str, str], done: Done) -> None:
    """On its channel layer, and on real Redis processes of its topology."""
    passed(done)


@pytest.mark.parametrize("variant", LAST, ids="-".join)
@pytest.mark.beside("make", "test", on_redis(*MEETING_EACH_OTHER), seconds=25)
def test_layer_and_topology_go_together(variant: tuple[str, str], done: Done) -> None:
    """As above; each has been tried with another."""
    passed(done)


def test_the_names_of_the_browser_are_found() -> None:
    """Without them the page's tests would be skipped."""
    assert {"chromium-headless-shell", "chromium", "google-chrome"} < {*CHROMIUM_NAMES}


def test_each_kind_of_what_differs_is_tried() -> None:
    assert {layer for layer, _ in (ONE, *TWO)} == {layer for layer, _ in VARIANTS}
    assert {topology for _, topology in (ONE, *TWO)} == {topology for _, topology in VARIANTS}
    assert {ONE, *TWO, *LAST} == {*VARIANTS}


def test_what_differs_is_run() -> None:
    """Every file of the app's tests that meets what differs is among those above."""
    files = (TEMPLATE / "tests" / "app").glob("test_*.py")
    meeting = {path.stem for path in files if MEETING.search(path.read_text(encoding="utf-8"))}
    assert meeting - {"test_page_outages"} == {f"test_{name}" for name in MET}


@pytest.mark.parametrize("variant", [ONE, *TWO], ids="-".join)
@pytest.mark.beside("make", "lint")
def test_lint_is_clean(variant: tuple[str, str], done: Done) -> None:
    """``make lint``: ruff check, ruff format --check and mypy --strict."""
    assert done.returncode == 0, done.stdout


@pytest.mark.beside("pyright", "--pythonpath", ".venv/bin/python", "src/fast_channels", seconds=30)
def test_the_runtime_satisfies_pyright(done: Done) -> None:
    """A second type checker finds nothing in the vendored runtime, with the project's packages."""
    assert done.returncode == 0, done.stdout


# What the group adds is laid over the environment: with it inside, make test would open the page too.
IN_A_BROWSER = """
uv export --quiet --locked --only-group browser --output-file browser.txt
uv run --locked --with-requirements browser.txt python -m pytest """

needs_chromium = pytest.mark.skipif(
    not any(map(shutil.which, CHROMIUM_NAMES)),
    reason="needs Chromium on PATH (apt-get install chromium); the other tests do not open the page",
)


# In one process, which starts one browser and its servers for each file.
@needs_chromium
@pytest.mark.beside("sh", "-ec", f"{IN_A_BROWSER} -n 0 tests/app/test_page*.py", seconds=100)
def test_the_page_works_in_a_browser(done: Done) -> None:
    """The page's own tests, which the project skips without its optional browser group."""
    passed(done)


@needs_chromium
@pytest.mark.parametrize("variant", [("queue", "sentinel"), ("queue", "cluster")], ids="-".join)
@pytest.mark.beside(
    "sh", "-ec", f"{IN_A_BROWSER} -s -k redis tests/app/test_page_outages.py", seconds=20
)
def test_the_page_outlives_a_failover(variant: tuple[str, str], done: Done) -> None:
    """Under continuous writing, on real Sentinels and on a real Cluster: shown is what was sent."""
    passed(done)
    assert re.search(r"over an outage of Redis: sent \d+, shown", done.stdout)
