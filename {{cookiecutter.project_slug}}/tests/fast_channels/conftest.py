"""Fixtures of the runtime's tests, and how these are collected.

The Redis processes are shared by the whole test run, all its workers; each test keeps to a prefix of its
own, and what breaks, empties or counts a whole server has one to itself.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fast_channels.layers import (
    InMemoryChannelLayer,
    register_channel_layer,
    unregister_channel_layer,
)
from fast_channels.names import owner_of
from fast_channels.server import WebSocketProtocol

from .support import uvicorn_server
from .support.redis_servers import ClusterGroup, RedisServer, SentinelGroup, shared
from .support.sample_consumers import Member
from .support.worker_bench import Bench, Ledger

HERE = Path(__file__).parent


# Collection


def pytest_configure(config: pytest.Config) -> None:
    """Each of several workers begins with files of its own: the first that comes to a file rewrites its
    asserts, which takes most of the time, and the others find that done.
    """
    worker = worker_of(config)
    if worker and [Path(arg).resolve() for arg in config.args] == [HERE.resolve()]:
        files = sorted(map(str, HERE.rglob("test_*.py")))
        number = int(worker["workerid"].removeprefix("gw"))
        begin = number * len(files) // worker["workercount"]
        config.args[:] = files[begin:] + files[:begin]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In all workers the same order."""
    items.sort(key=lambda item: item.path)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Thousands of tests are made, and stay: the garbage collector need not look at them, then or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def worker_of(config: pytest.Config) -> dict[str, Any] | None:
    """What pytest-xdist says to one of several processes that run the tests."""
    return getattr(config, "workerinput", None)


# Servers


SERVERS = ExitStack()


def pytest_unconfigure() -> None:
    """Not with the last test, whose time it would take: here the servers' other users are waited for."""
    SERVERS.close()


@pytest.fixture(scope="session")
def common_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for all workers of the test run."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if worker_of(request.config) else own


@pytest.fixture(scope="session")
def redis_server(common_folder: Path) -> RedisServer:
    """One server, which no test may stop."""
    return SERVERS.enter_context(shared(common_folder, "standalone", RedisServer))


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """One of the test's own, which counts what the server does, or breaks all connections to it."""
    with RedisServer() as running:
        yield running


@pytest.fixture(scope="session")
def sentinel_group(common_folder: Path) -> SentinelGroup:
    """A primary, two replicas and three Sentinels, all with passwords; no test may stop one."""
    passwords = {"password": "data-password", "sentinel_password": "watch-password"}
    make = partial(SentinelGroup, **passwords)
    return SERVERS.enter_context(shared(common_folder, "sentinel", make))


@pytest.fixture(scope="session")
def cluster_group(common_folder: Path) -> ClusterGroup:
    """A Cluster of three primaries, with a password; no test may stop one."""
    make = partial(ClusterGroup, password="data-password")
    return SERVERS.enter_context(shared(common_folder, "cluster", make))


# Layers


@pytest.fixture
async def memory_layer() -> AsyncIterator[InMemoryChannelLayer]:
    """The default layer of the test's consumers.

    Afterwards no group, no consumer's channel and no task may be left, however they ended.
    """
    layer = InMemoryChannelLayer()
    register_channel_layer("default", layer)
    yield layer
    unregister_channel_layer("default")
    assert layer.local.members == {}
    assert [name for name in layer.local.mailboxes if owner_of(name)] == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
async def jobs() -> AsyncIterator[Ledger]:
    """A layer in memory that records what a worker says about each message."""
    yield Ledger()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture(params=["auto", WebSocketProtocol], ids=["uvicorn", "tuned"])
def each_protocol(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs with uvicorn's own WebSocket protocol, and with that of the runtime."""
    monkeypatch.setattr(uvicorn_server, "DEFAULT_PROTOCOL", request.param)


@pytest.fixture
def bench() -> Bench:
    """Jobs that wait at a gate."""
    return Bench()


@pytest.fixture
def codes() -> Iterator[list[int]]:
    """The codes with which disconnect() of `Member` and its subclasses has been called."""
    Member.codes.clear()
    yield Member.codes
    Member.codes.clear()
