"""One layer, and a second one of the same app, as another process would have."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import redis.asyncio

from fast_channels.layers import BaseChannelLayer

from ..support.backends import ALL, Backend
from ..support.redis_servers import ClusterGroup, RedisServer, SentinelGroup

FIXTURES = {
    "standalone": "redis_server",
    "sentinel": "sentinel_group",
    "cluster": "cluster_group",
    "own": "server",
}

MakeLayer = Callable[..., BaseChannelLayer]


@pytest.fixture(params=ALL)
def backend(request: pytest.FixtureRequest) -> Backend:
    return backend_of(request.param, request)


def backend_of(name: str, request: pytest.FixtureRequest) -> Backend:
    """The servers are started when the first test asks for them."""
    if name == "memory":
        return Backend(name)
    backend = Backend(name, prefix=f"test-{uuid.uuid4().hex[:8]}")
    server: RedisServer | SentinelGroup | ClusterGroup = request.getfixturevalue(
        FIXTURES[backend.topology]
    )
    return replace(backend, url=server.url)


@pytest.fixture
async def make_layer(backend: Backend) -> AsyncIterator[MakeLayer]:
    """A function that makes layers of the backend with other arguments; all are closed after it."""
    async with AsyncExitStack() as stack:

        def make(**options: Any) -> BaseChannelLayer:
            layer = backend.make(**options)
            stack.push_async_callback(layer.aclose)
            return layer

        yield make


@pytest.fixture
async def layer(make_layer: MakeLayer) -> BaseChannelLayer:
    return make_layer()


@pytest.fixture
async def peer_layer(
    backend: Backend, make_layer: MakeLayer, layer: BaseChannelLayer
) -> BaseChannelLayer:
    """The layer of another process of the app; in memory, which is one process, the same layer."""
    return layer if backend.is_memory else make_layer()


@pytest.fixture
async def redis_client(
    backend: Backend, request: pytest.FixtureRequest
) -> AsyncIterator[redis.asyncio.Redis]:
    """A plain client of the backend's (primary) server, to look at what the layer stores."""
    if backend.topology == "sentinel":
        server = request.getfixturevalue("sentinel_group").primary()
    else:
        server = request.getfixturevalue("server" if backend.topology == "own" else "redis_server")
    async with redis.asyncio.Redis.from_url(server.url, protocol=2) as client:
        yield client
