"""Rendered projects that several tests share, so that each variant is rendered and installed once."""

from collections.abc import Callable, Generator, Iterator
from itertools import product
from pathlib import Path
from typing import TextIO

import pytest

import beside
import progress
from rendering import render

LAYERS = ("pubsub", "queue")
TOPOLOGIES = ("standalone", "sentinel", "cluster")
VARIANTS = tuple(product(LAYERS, TOPOLOGIES))

Render = Callable[..., Path]

TERMINAL = pytest.StashKey[TextIO]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TERMINAL] = progress.terminal()
    config.addinivalue_line(
        "markers", "beside(*command, variant=None, env=None): what the fixture `done` is the end of"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    beside.last(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A long test says that it is under way."""
    with progress.told(item.name, item.config.stash[TERMINAL]):
        return (yield)


@pytest.fixture(name="render")
def render_fixture(tmp_path: Path) -> Render:
    """Renders into this test's own folder: ``render(license="MIT")``."""
    return lambda **answers: render(tmp_path / "out", answers)


@pytest.fixture(scope="session")
def variants(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Channel layer and topology -> the project generated from them, all else by default."""
    folder = tmp_path_factory.mktemp("variants")
    return {
        (layer, topology): render(
            folder / f"{layer}-{topology}",
            {"channel_layer": layer, "redis_topology": topology},
        )
        for layer, topology in VARIANTS
    }


@pytest.fixture(params=VARIANTS, ids="-".join)
def variant(
    request: pytest.FixtureRequest, variants: dict[tuple[str, str], Path]
) -> tuple[str, str, Path]:
    """Channel layer, topology and project, one after another."""
    layer, topology = request.param
    return layer, topology, variants[layer, topology]


@pytest.fixture(scope="session", autouse=True)
def commands(
    request: pytest.FixtureRequest,
    variants: dict[tuple[str, str], Path],
    caches: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[beside.Commands]:
    """All long commands of this run, under way from its first test on.

    In copies of the variants, for they leave caches and results behind.
    """
    folder = tmp_path_factory.mktemp("beside")
    started = beside.Commands()
    for item in request.session.items:
        started.start(item, variants, folder, caches)
    yield started
    started.close()


@pytest.fixture
def done(request: pytest.FixtureRequest, commands: beside.Commands) -> beside.Done:
    """The end of this test's long command, and what it printed."""
    return commands.result(request.node.nodeid)


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment that lets the variants share what ruff and mypy worked out.

    The packages themselves are shared by uv's own cache; each project has an environment of its own.
    """
    folder = tmp_path_factory.mktemp("caches")
    return {"MYPY_CACHE_DIR": str(folder / "mypy"), "RUFF_CACHE_DIR": str(folder / "ruff")}
