"""The Redis of a run: one real server on a free port, and the counters it keeps of itself."""

import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .cpus import Cores, pinned

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
# It starts servers and ends them, however we end.
sys.path.append(str(TEMPLATE / "tests" / "fast_channels" / "support"))

from redis_servers import RedisServer  # noqa: E402

SECTIONS = ("commandstats", "cpu", "stats")  # stats is the last: see Redis.counters


@dataclass(frozen=True)
class Counters:
    """What the server did: commands by name, bytes that clients sent and got, CPU in seconds.

    A command that a script calls counts like one that a client sends.
    """

    calls: Mapping[str, int]
    bytes_in: int
    bytes_out: int
    cpu: float

    @property
    def commands(self) -> int:
        return sum(self.calls.values())

    def __sub__(self, earlier: "Counters") -> "Counters":
        calls = {name: n - earlier.calls.get(name, 0) for name, n in self.calls.items()}
        return Counters(
            {name: n for name, n in calls.items() if n},
            self.bytes_in - earlier.bytes_in,
            self.bytes_out - earlier.bytes_out,
            self.cpu - earlier.cpu,
        )


class Redis:
    """`address` is host:port, `url` what clients take."""

    def __init__(self, cores: Cores = frozenset()) -> None:
        self._server = RedisServer()
        self._cores = cores
        self._open = ExitStack()
        self._sent = self._received = 0

    def __enter__(self) -> Self:
        with pinned(self._cores):
            self._open.enter_context(self._server)
        self.address = self._server.address
        self.url = self._server.url
        connection = (self._server.host, self._server.port)
        self._socket = self._open.enter_context(socket.create_connection(connection, timeout=10))
        self._replies = self._open.enter_context(self._socket.makefile("rb"))
        self.version = self._info("server")["redis_version"]
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._open.close()

    def clear(self) -> None:
        """Delete everything."""
        self._ask("FLUSHALL SYNC")

    def counters(self) -> Counters:
        """What everybody but this connection has made the server do since it started."""
        commands, cpu, stats = map(self._info, SECTIONS)
        calls = {
            name.removeprefix("cmdstat_"): int(text.split(",")[0].removeprefix("calls="))
            for name, text in commands.items()
        }
        for ours in ("info", "flushall"):
            calls.pop(ours, None)
        return Counters(
            calls,
            bytes_in=int(stats["total_net_input_bytes"]) - self._sent,
            # The reply that says so was not sent yet.
            bytes_out=int(stats["total_net_output_bytes"]) - self._received + self._last,
            cpu=float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]),
        )

    def _info(self, section: str) -> dict[str, str]:
        lines = self._ask(f"INFO {section}").splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def _ask(self, command: str) -> str:
        request = f"{command}\r\n".encode()
        self._socket.sendall(request)
        head = self._replies.readline()
        body = self._replies.read(int(head[1:]) + 2) if head.startswith(b"$") else b""
        if head.startswith(b"-"):
            raise RuntimeError(f"Redis answered {head!r} to {command}")
        self._sent += len(request)
        self._last = len(head) + len(body)
        self._received += self._last
        return body.decode()
