"""One data node."""

from collections.abc import Iterable, Mapping

from .process import Directive, RedisProcess


class RedisServer(RedisProcess):
    """A Redis server; not started before `start()` or `with`.

    - `appendonly`: each write is on disk before it is answered (`appendfsync always`), so that
      nothing is lost by `kill()`. Without it the data is gone with the process.
    - `password`: asked of clients, and used towards a primary.
    - `replica_of`: a started server that this one replicates; it must have the same password.
    - `config`: further directives, e.g. `{"maxmemory": "10mb"}`; they win over ours.
    """

    def __init__(
        self,
        *,
        password: str | None = None,
        appendonly: bool = False,
        replica_of: "RedisServer | None" = None,
        config: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(password=password)
        self._appendonly = appendonly
        self._replica_of = replica_of
        self._extra = dict(config or {})
        self.cluster = self._extra.get("cluster-enabled") == "yes"

    def directives(self) -> Iterable[Directive]:
        yield ("save", "")  # Snapshots would make "was it lost?" depend on the clock.
        if self._appendonly:
            yield ("appendonly", "yes")
            yield ("appendfsync", "always")
        if self.password:
            yield ("masterauth", self.password)
        # Redis 7 waits 5 s for more replicas before it starts to copy; tests know them all.
        yield ("repl-diskless-sync-delay", "0")
        yield ("repl-ping-replica-period", "1")
        if self._replica_of is not None:
            yield ("replicaof", self._replica_of.host, str(self._replica_of.port))
        yield from self._extra.items()

    def replicates(self, primary: "RedisServer") -> bool:
        """Whether it follows `primary` with its link up, the first copy behind it."""
        info = self.execute("INFO", "replication")
        return (
            info["role"] == "slave"
            and info["master_port"] == primary.port
            and info["master_link_status"] == "up"
            and not info["master_sync_in_progress"]
        )

    def is_primary(self) -> bool:
        return bool(self.execute("INFO", "replication")["role"] == "master")
