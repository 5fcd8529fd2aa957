"""The Redis of the app's tests: a primary, two replicas and three Sentinels, as in compose."""

from typing import Self

from ..fast_channels.support.redis_servers import RedisServer, SentinelGroup

PASSWORD = "secret/with:signs@"  # it must survive its way through REDIS_URL


class Broker:
    """`lose()` and `recover()` are what an outage is here: the primary dies, a replica follows."""

    def __init__(self) -> None:
        self._group = SentinelGroup(password=PASSWORD, appendonly=True)
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
        self._lost = self._group.primary()
        self._lost.kill()

    def recover(self) -> None:
        """Return when another primary has taken over; the old one comes back as its replica."""
        if self._lost is None:
            raise RuntimeError("recover() comes after lose()")
        self._group.wait_ready(other_than=self._lost)
        self._lost.start()
        self._lost = None
