"""Real Redis processes that the whole test run shares; each test keeps to a prefix of its own."""

from collections.abc import Iterator

import pytest

from redis_servers import ClusterGroup, RedisServer, SentinelGroup


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
