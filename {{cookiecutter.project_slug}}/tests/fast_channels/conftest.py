"""Fixtures of the runtime's tests."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

import uvicorn_server
from fast_channels.layers import (
    InMemoryChannelLayer,
    register_channel_layer,
    unregister_channel_layer,
)
from fast_channels.names import owner_of
from fast_channels.server import WebSocketProtocol
from sample_consumers import Member
from worker_bench import Bench, Ledger


@pytest.fixture
async def memory_layer() -> AsyncIterator[InMemoryChannelLayer]:
    """The default layer of the test's consumers.

    Afterwards no group, no consumer's channel and no task may be left, however they ended.
    """
    layer = InMemoryChannelLayer()
    register_channel_layer("default", layer)
    yield layer
    unregister_channel_layer("default")
    assert layer._local.groups == {}
    assert [name for name in layer._local.mailboxes if owner_of(name)] == []
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
