"""Free ports for servers that are killed and started again on the same port."""

import random
import socket

HOST = "127.0.0.1"

# Below the range from which Linux (32768) and macOS (49152) give ports to outgoing connections. Above
# it, a client that retries a killed server can be given the server's own port as its source: it
# connects to itself, and the server cannot start again. A Cluster's bus port, 10000 higher, is below
# it too.
LOWEST, HIGHEST = 10_000, 22_000
CLUSTER_BUS_OFFSET = 10_000
ATTEMPTS = 200


def free_port(*, cluster: bool = False) -> int:
    """A port that nobody listens on now; with `cluster`, its bus port is free as well."""
    for _ in range(ATTEMPTS):
        port = random.randint(LOWEST, HIGHEST)
        wanted = (port, port + CLUSTER_BUS_OFFSET) if cluster else (port,)
        if all(_is_free(number) for number in wanted):
            return port
    raise RuntimeError(f"no free port between {LOWEST} and {HIGHEST} in {ATTEMPTS} attempts")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the server does: a closed connection in TIME_WAIT does not occupy the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
