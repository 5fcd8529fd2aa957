"""Real Redis processes for tests: one server, a Sentinel group, a Cluster.

Everything runs on 127.0.0.1, on ports of its own, in temporary folders, and ends with the test run
even if that is killed. The interface is synchronous, so that a session fixture and an async test can
both use it; an async test that waits for long calls it through `asyncio.to_thread`.
"""

from .binary import MISSING_REDIS_SERVER, RedisServerMissing, find_redis_server
from .cluster import ClusterGroup
from .process import RedisProcess, ServerFailed
from .sentinel import Sentinel, SentinelGroup
from .shared import shared
from .standalone import RedisServer
from .waiting import wait_until

__all__ = [
    "MISSING_REDIS_SERVER",
    "ClusterGroup",
    "RedisProcess",
    "RedisServer",
    "RedisServerMissing",
    "Sentinel",
    "SentinelGroup",
    "ServerFailed",
    "find_redis_server",
    "shared",
    "wait_until",
]
