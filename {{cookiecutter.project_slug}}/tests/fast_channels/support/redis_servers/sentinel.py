"""A primary, its replicas and the Sentinels that watch them."""

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, Self
from urllib.parse import quote

from .process import Directive, RedisProcess, userinfo
from .standalone import RedisServer
from .waiting import wait_until

SERVICE_NAME = "mymaster"
# After a failover a Sentinel takes up to 1 s to connect to the new primary. A shorter time than that
# declares it dead at once: with 0.8 s, two failovers of five were followed by a second one.
DOWN_AFTER_SECONDS = 1.5
# Generous: a Sentinel that was starved of CPU for 2 s stands back for 30 s ("tilt" mode).
READY_SECONDS = 60.0


class Sentinel(RedisProcess):
    """One Sentinel, which watches `primary` under the name `mymaster`."""

    arguments = ("--sentinel",)

    def __init__(
        self, primary: RedisServer, *, quorum: int, down_after: float, password: str | None = None
    ) -> None:
        super().__init__(password=password)
        self._primary = primary
        self._quorum = quorum
        self._down_after = down_after

    def directives(self) -> Iterable[Directive]:
        def sentinel(option: str, *values: object) -> Directive:
            return ("sentinel", option, SERVICE_NAME, *map(str, values))

        yield sentinel("monitor", self._primary.host, self._primary.port, self._quorum)
        yield sentinel("down-after-milliseconds", int(self._down_after * 1000))
        # A vote that was split between Sentinels is repeated after twice this time.
        yield sentinel("failover-timeout", 2000)
        yield sentinel("parallel-syncs", 2)
        if self._primary.password:
            yield sentinel("auth-pass", self._primary.password)

    def ask(self, question: str) -> Any:
        """The reply to `SENTINEL <question> mymaster`."""
        return self.execute("SENTINEL", question, SERVICE_NAME)


class SentinelGroup:
    """Real Sentinels around real servers; `start()` returns when a failover would succeed.

    `password` is the data nodes', `sentinel_password` the Sentinels'. `down_after` seconds
    without an answer make a primary a dead one; a failover takes 3 to 5 s.
    `servers` are the data nodes whatever their present role, `sentinels` the Sentinels.
    """

    def __init__(
        self,
        *,
        replicas: int = 2,
        sentinels: int = 3,
        quorum: int = 2,
        password: str | None = None,
        sentinel_password: str | None = None,
        appendonly: bool = False,
        down_after: float = DOWN_AFTER_SECONDS,
    ) -> None:
        self.service_name = SERVICE_NAME
        self.password = password
        self.sentinel_password = sentinel_password
        first = RedisServer(password=password, appendonly=appendonly)
        self.servers = [first]
        for _ in range(replicas):
            self.servers.append(
                RedisServer(password=password, appendonly=appendonly, replica_of=first)
            )
        self.sentinels = [
            Sentinel(first, quorum=quorum, down_after=down_after, password=sentinel_password)
            for _ in range(sentinels)
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        hosts = ",".join(sentinel.address for sentinel in self.sentinels)
        url = f"redis+sentinel://{userinfo(self.password)}{hosts}/{SERVICE_NAME}/0"
        if self.sentinel_password:
            url += f"?sentinel_password={quote(self.sentinel_password, safe='')}"
        return url

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The Sentinels' addresses, as a layer's `sentinels=` takes them."""
        return [(sentinel.host, sentinel.port) for sentinel in self.sentinels]

    def start(self) -> None:
        """Start everything; on failure nothing stays behind."""
        with ExitStack() as undo:
            undo.callback(self.stop)
            for server in self.servers:
                server.start()
            # Before the Sentinels, which look for replicas only every 10 s.
            first, *others = self.servers
            wait_until(
                lambda: all(server.replicates(first) for server in others),
                what=f"{others} to follow {first!r}",
            )
            for sentinel in self.sentinels:
                sentinel.start()
            self.wait_ready()
            undo.pop_all()

    def stop(self) -> None:
        """End every process and remove its data."""
        for process in (*self.sentinels, *self.servers):
            process.close()

    def primary(self) -> RedisServer:
        """The server that all running Sentinels name; `LookupError` while they disagree."""
        named = {tuple(s.ask("get-master-addr-by-name")) for s in self.sentinels if s.alive}
        for server in self.servers:
            if named == {(server.host, str(server.port))}:
                return server
        raise LookupError(f"the Sentinels do not agree on a primary: {sorted(named)}")

    def replicas(self) -> list[RedisServer]:
        """The running servers that are not the primary."""
        primary = self.primary()
        return [server for server in self.servers if server is not primary and server.alive]

    def failover(self, timeout: float = READY_SECONDS) -> RedisServer:
        """Kill the primary and return the new one, once the group is whole without the old.

        `restart()` on the old one brings it back. It believes that it is the primary until the
        Sentinels make it a replica, which they do after 8 to 11 s.
        """
        old = self.primary()
        old.kill()
        return self.wait_ready(other_than=old, timeout=timeout)

    def wait_ready(
        self, *, other_than: RedisServer | None = None, timeout: float = READY_SECONDS
    ) -> RedisServer:
        """Wait until a failover would succeed, with a primary that is not `other_than`; return it.

        That is: the running Sentinels agree on a running primary, know each other and its replicas,
        and every running replica follows it. Paused processes count as running.
        """
        try:
            wait_until(
                lambda: self._is_ready(other_than),
                what="the Sentinel group to be ready",
                timeout=timeout,
                interval=0.05,
            )
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.logs()}") from None
        return self.primary()

    def logs(self) -> str:
        """The end of every process's log."""
        return "\n".join(
            f"--- {process!r}\n" + "\n".join(process.log.splitlines()[-30:])
            for process in (*self.servers, *self.sentinels)
        )

    def _is_ready(self, other_than: RedisServer | None) -> bool:
        try:
            primary = self.primary()
        except LookupError:
            return False
        if primary is other_than or not primary.alive or not primary.is_primary():
            return False
        replicas = [server for server in self.servers if server is not primary and server.alive]
        return all(server.replicates(primary) for server in replicas) and all(
            self._is_watching(sentinel, replicas) for sentinel in self.sentinels if sentinel.alive
        )

    def _is_watching(self, sentinel: Sentinel, replicas: list[RedisServer]) -> bool:
        state = _pairs(sentinel.ask("master"))
        if state["flags"] != "master" or not sentinel.ask("ckquorum").startswith("OK"):
            return False
        if int(state["num-other-sentinels"]) < len(self.sentinels) - 1:
            return False
        # A run id is there once the replica itself has answered, not only the primary about it.
        known = {int(r["port"]) for r in map(_pairs, sentinel.ask("replicas")) if r["runid"]}
        return known.issuperset(server.port for server in replicas)


def _pairs(reply: list[str]) -> dict[str, str]:
    return dict(zip(reply[::2], reply[1::2], strict=True))
