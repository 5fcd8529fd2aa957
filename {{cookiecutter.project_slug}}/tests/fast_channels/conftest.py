"""Fixtures of the runtime's tests.

The Redis processes are shared by the whole test run; each test keeps to a prefix of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from fast_channels.layers import (
    InMemoryChannelLayer,
    register_channel_layer,
    unregister_channel_layer,
)
from fast_channels.names import owner_of
from fast_channels.server import WebSocketProtocol

from .support import uvicorn_server
from .support.redis_servers import ClusterGroup, RedisServer, SentinelGroup
from .support.sample_consumers import Member
from .support.worker_bench import Bench, Ledger


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server, which no test may stop."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def sentinel_group() -> Iterator[SentinelGroup]:
    """A primary, two replicas and three Sentinels, all with passwords; no test may stop one."""
    with SentinelGroup(password="data-password", sentinel_password="watch-password") as group:
        yield group


@pytest.fixture(scope="session")
def cluster_group() -> Iterator[ClusterGroup]:
    """A Cluster of three primaries, with a password; no test may stop one."""
    with ClusterGroup(password="data-password") as group:
        yield group


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
