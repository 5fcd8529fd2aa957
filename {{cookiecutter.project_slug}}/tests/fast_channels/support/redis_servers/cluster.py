"""A Redis Cluster of real processes."""

from contextlib import ExitStack
from typing import Any, Self

from .standalone import RedisServer
from .waiting import wait_until

SLOTS = 16384
READY_SECONDS = 60.0


class ClusterGroup:
    """`primaries` nodes that share the slots, each with `replicas` copies.

    `node_timeout` is the time in seconds after which a silent node counts as dead. Without a
    replica its slots are then unserved; with one, that takes over about a second later.
    """

    def __init__(
        self,
        *,
        primaries: int = 3,
        replicas: int = 0,
        password: str | None = None,
        appendonly: bool = False,
        node_timeout: float = 1.0,
    ) -> None:
        if primaries < 3:
            raise ValueError(f"a Cluster needs at least 3 primaries to vote, not {primaries}")
        self.password = password
        self._primaries = primaries
        config = {
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": str(int(node_timeout * 1000)),
        }
        self.nodes = [
            RedisServer(password=password, appendonly=appendonly, config=config)
            for _ in range(primaries * (1 + replicas))
        ]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """All nodes, running or not, as the layers take them."""
        nodes = ",".join(f"{host}:{port}" for host, port in self.addresses)
        return f"redis+cluster://{f':{self.password}@' if self.password else ''}{nodes}"

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [(node.host, node.port) for node in self.nodes]

    def start(self) -> None:
        """Start the nodes and join them; on failure nothing stays behind."""
        with ExitStack() as undo:
            undo.callback(self.stop)
            for node in self.nodes:
                node.start()
            self._join()
            self._share_slots()
            self._attach_replicas()
            self.wait_ready()
            undo.pop_all()

    def stop(self) -> None:
        """End every process and remove its data."""
        for node in self.nodes:
            node.close()

    def primary_of(self, key: str) -> RedisServer:
        """The node that serves `key` now, as the first running node sees it; else `LookupError`."""
        owner = self._find_primary_of(key)
        if owner is None:
            raise LookupError(f"no node serves the slot of key {key!r}")
        return owner

    def failover(self, key: str, timeout: float = READY_SECONDS) -> RedisServer:
        """Kill the node that serves `key` and return the replica that took over."""
        old = self.primary_of(key)
        old.kill()
        wait_until(
            lambda: self._find_primary_of(key) not in (None, old),
            what=f"another node than {old!r} to serve {key!r}",
            timeout=timeout,
        )
        self.wait_ready(timeout=timeout)
        return self.primary_of(key)

    def wait_ready(self, timeout: float = READY_SECONDS) -> None:
        """Wait until every running node serves, sees all slots alike, and replicas follow."""
        try:
            wait_until(
                self._is_ready, what="the Cluster to be ready", timeout=timeout, interval=0.05
            )
        except TimeoutError as error:
            logs = "\n".join(f"--- {node!r}\n{node.log[-3000:]}" for node in self.nodes)
            raise TimeoutError(f"{error}\n{logs}") from None

    def _find_primary_of(self, key: str) -> RedisServer | None:
        witness = next(node for node in self.nodes if node.alive)
        slot = int(witness.execute("CLUSTER", "KEYSLOT", key))
        for line in self._view(witness):
            if any(first <= slot <= last for first, last in line.slots):
                return next(node for node in self.nodes if node.port == line.port)
        return None

    def _join(self) -> None:
        first, *others = self.nodes
        for epoch, node in enumerate(self.nodes, start=1):
            # Different from the start: equal ones are sorted out between the nodes, which takes time.
            node.execute("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        for node in others:
            node.execute("CLUSTER", "MEET", first.host, first.port)
        wait_until(self._is_acquainted, what="every node to know all nodes")

    def _share_slots(self) -> None:
        bounds = [SLOTS * i // self._primaries for i in range(self._primaries + 1)]
        for node, first, last in zip(self.nodes, bounds, bounds[1:], strict=False):
            # One by one, because ADDSLOTSRANGE came only with Redis 7.
            node.execute("CLUSTER", "ADDSLOTS", *range(first, last))

    def _attach_replicas(self) -> None:
        primaries, replicas = self.nodes[: self._primaries], self.nodes[self._primaries :]
        for number, replica in enumerate(replicas):
            primary = primaries[number % self._primaries]
            identity = primary.execute("CLUSTER", "MYID")
            replica.execute("CLUSTER", "REPLICATE", identity)

    def _is_acquainted(self) -> bool:
        """Whether the handshakes are over, so that each knows the others by their final ids."""
        identities = {node.execute("CLUSTER", "MYID") for node in self.nodes}
        return all(
            identities == {line.identity for line in self._view(node) if line.connected}
            for node in self.nodes
        )

    def _is_ready(self) -> bool:
        running = [node for node in self.nodes if node.alive]
        views = [self._view(node) for node in running]
        served = [{line.port: line.slots for line in view if line.slots} for view in views]
        count = sum(last - first + 1 for slots in served[0].values() for first, last in slots)
        return (
            all(self._info(node)["cluster_state"] == "ok" for node in running)
            and all(view == served[0] for view in served)
            and count == SLOTS
            and all(self._is_settled(node, running) for node in running)
        )

    def _is_settled(self, node: RedisServer, running: list[RedisServer]) -> bool:
        if node.is_primary():
            return True
        return any(node.replicates(primary) for primary in running if primary is not node)

    @staticmethod
    def _info(node: RedisServer) -> Any:
        return node.execute("CLUSTER INFO")

    @staticmethod
    def _view(node: RedisServer) -> "list[_Line]":
        reply = node.execute("CLUSTER NODES")
        return [_Line(address, fields) for address, fields in reply.items()]


class _Line:
    """One node of CLUSTER NODES; `slots` are the ranges that it serves, first and last included."""

    def __init__(self, address: str, fields: dict[str, Any]) -> None:
        self.identity = fields["node_id"]
        self.connected = fields["connected"] and "handshake" not in fields["flags"]
        self.port = int(address.rsplit(":", 1)[1].split("@")[0])
        served = "master" in fields["flags"] and "fail" not in fields["flags"].split(",")
        ranges = fields["slots"] if served else []
        self.slots = tuple((int(pair[0]), int(pair[-1])) for pair in ranges)
