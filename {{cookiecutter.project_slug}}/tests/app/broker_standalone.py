"""The Redis of the app's tests: one server with a password and an append-only file, as in compose."""

from typing import Self

from ..fast_channels.support.redis_servers import RedisServer

PASSWORD = "secret/with:signs@"  # it must survive its way through REDIS_URL


class Broker:
    """`lose()` and `recover()` are what an outage is with one server: a stop and a start."""

    def __init__(self) -> None:
        self._server = RedisServer(password=PASSWORD, appendonly=True)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        """The value of REDIS_URL."""
        return self._server.url

    def lose(self) -> None:
        self._server.stop()

    def recover(self) -> None:
        """Return when Redis answers again."""
        self._server.start()
