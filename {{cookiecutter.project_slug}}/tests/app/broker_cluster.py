"""The Redis of the app's tests: a Cluster of three primaries with a replica each, as in compose."""

from typing import Self

from ..fast_channels.support.redis_servers import ClusterGroup, RedisServer, wait_until

PASSWORD = "secret/with:signs@"  # it must survive its way through REDIS_URL
JOBS = "{jobs}"  # what stands in braces decides alone which node has the channel of the jobs


class Broker:
    """`lose()` and `recover()` are what an outage is here: a primary dies, its replica follows.

    The replica waits for `recover()`: it could follow so soon that the app, which tries again for a
    while, would not notice.
    """

    def __init__(self) -> None:
        self._group = ClusterGroup(replicas=1, password=PASSWORD, appendonly=True)
        self._lost: RedisServer | None = None

    def __enter__(self) -> Self:
        self._group.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._group.stop()

    @property
    def url(self) -> str:
        """The value of REDIS_URL."""
        return self._group.url

    def lose(self) -> None:
        self._forbid_failover("yes")
        self._lost = self._group.primary_of(JOBS)
        self._lost.kill()

    def recover(self) -> None:
        """Return when another primary has taken over and the old one is back as its replica."""
        if self._lost is None:
            raise RuntimeError("recover() comes after lose()")
        self._forbid_failover("no")
        wait_until(self._has_taken_over, what=f"a node to follow {self._lost!r}", timeout=60)
        self._lost.start()
        self._group.wait_ready()
        self._lost = None

    def _has_taken_over(self) -> bool:
        try:
            return self._group.primary_of(JOBS) is not self._lost
        except LookupError:
            return False

    def _forbid_failover(self, answer: str) -> None:
        for node in self._group.nodes:
            if node.alive:
                node.execute("CONFIG", "SET", "cluster-replica-no-failover", answer)
