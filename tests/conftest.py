"""Rendered projects that several tests share, so that each variant is rendered and installed once."""

import shutil
from collections.abc import Callable, Generator, Iterator
from itertools import product
from pathlib import Path
from typing import Any, TextIO

import pytest

import beside
import progress
import rendering
from rendering import environment_of, run, share_bytecode

LAYERS = ("queue", "pubsub")
TOPOLOGIES = ("standalone", "sentinel", "cluster")
VARIANTS = tuple(product(LAYERS, TOPOLOGIES))
# The default one: it alone has an environment, of the lock that all variants share.
ONE = VARIANTS[0]
DEFAULTS = {"channel_layer": ONE[0], "redis_topology": ONE[1], "ci": "github", "license": "MIT"}
DEFAULTS |= {"project_name": "My Chat", "project_slug": "my_chat"}

Variant = beside.Variant
Render = Callable[..., Path]
Shared = Callable[[Path], dict[str, str]]

TERMINAL = pytest.StashKey[TextIO]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TERMINAL] = progress.terminal()
    config.addinivalue_line(
        "markers", "beside(*command_or_function, seconds=0, env=None): what `done` is the end of"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    beside.last(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A long test says that it is under way."""
    with progress.told(item.name, item.config.stash[TERMINAL]):
        return (yield)


@pytest.fixture(scope="session")
def render(variants: dict[Variant, Path], tmp_path_factory: pytest.TempPathFactory) -> Render:
    """The project of these answers, ``render(license="MIT")``, for tests that leave it as it is.

    All share it: to render takes more than a second of a core.
    """
    folder = tmp_path_factory.mktemp("rendered")
    projects: dict[frozenset[tuple[str, str]], Path] = {
        _answered({"channel_layer": layer, "redis_topology": topology}): project
        for (layer, topology), project in variants.items()
    }

    def of(**answers: str) -> Path:
        key = _answered(answers)
        if key not in projects:
            projects[key] = rendering.render(folder / str(len(projects)), answers)
        return projects[key]

    return of


def _answered(answers: dict[str, str]) -> frozenset[tuple[str, str]]:
    """Those that are not the default."""
    return frozenset(answers.items() - DEFAULTS.items())


@pytest.fixture
def project(rendered: Path, tmp_path: Path) -> Path:
    """A default project of the test's own, as it was rendered."""
    return Path(shutil.copytree(rendered, tmp_path / "out" / rendered.name))


@pytest.fixture(scope="session")
def variants(tmp_path_factory: pytest.TempPathFactory) -> dict[Variant, Path]:
    """Channel layer and topology -> the project generated from them, all else by default."""
    folder = tmp_path_factory.mktemp("variants")
    return {
        (layer, topology): rendering.render(
            folder / f"{layer}-{topology}",
            {"channel_layer": layer, "redis_topology": topology},
        )
        for layer, topology in VARIANTS
    }


@pytest.fixture(params=VARIANTS, ids="-".join)
def variant(request: pytest.FixtureRequest, variants: dict[Variant, Path]) -> tuple[str, str, Path]:
    """Channel layer, topology and project, one after another."""
    layer, topology = request.param
    return layer, topology, variants[layer, topology]


@pytest.fixture
def rendered(variants: dict[Variant, Path]) -> Path:
    """The default variant, for a test that leaves it as it is."""
    return variants[ONE]


@pytest.fixture(scope="session")
def copies(
    variants: dict[Variant, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[Variant, Path]:
    """The same as `variants`, for commands that leave caches and results behind."""
    folder = tmp_path_factory.mktemp("copies")
    return {
        (layer, topology): Path(
            shutil.copytree(project, folder / f"{layer}-{topology}" / project.name)
        )
        for (layer, topology), project in variants.items()
    }


@pytest.fixture(scope="session")
def installed(copies: dict[Variant, Path]) -> Path:
    """The copy of variant `ONE` with its environment: what needs no other one runs in it."""
    project = copies[ONE]
    done = run("uv", "sync", "--locked", cwd=project)
    assert done.returncode == 0, done.stdout
    return project


@pytest.fixture(scope="session")
def shared(installed: Path) -> Shared:
    """Project -> variables with which it runs in the environment of `installed`.

    To install the same packages again costs each project some 10 s, most of them to compile. Of its own
    files it gets what is compiled by then.
    """

    def of(project: Path) -> dict[str, str]:
        if project != installed:
            share_bytecode(installed, project)
        return environment_of(installed, project)

    return of


@pytest.fixture(scope="session", autouse=True)
def commands(
    request: pytest.FixtureRequest,
    variants: dict[Variant, Path],
    copies: dict[Variant, Path],
    shared: Shared,
    caches: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[beside.Commands]:
    """All long work of this run, under way from its first test on."""
    started = beside.Commands()
    for item in request.session.items:
        if work := beside.work_of(item):
            place = beside.Place(
                folder=tmp_path_factory.mktemp("beside"),
                project=copies[beside.variant_of(item, ONE)],
                plain=variants[ONE],
                environment=lambda project: caches | shared(project),
                running=started.running,
            )
            started.submit(beside.name_of(item), work, place)
    yield started
    started.close()


@pytest.fixture
def done(request: pytest.FixtureRequest, commands: beside.Commands) -> Any:
    """What came of this test's long work: of a command, its end and what it printed."""
    return commands.result(beside.name_of(request.node))


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment that lets the variants share what ruff and mypy worked out.

    They share an environment too, by `shared`.
    """
    folder = tmp_path_factory.mktemp("caches")
    return {"MYPY_CACHE_DIR": str(folder / "mypy"), "RUFF_CACHE_DIR": str(folder / "ruff")}
