"""What one client without an account can do to a server: its memory, and how long others wait.

A real uvicorn process with the limits that a generated project starts it with. Meanwhile another
client sends a text every few ms: what the server works until its slowest echo says how long the loop
stood still, also on a machine that is full, where any process waits.
"""

import os
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ..support.children import PYTHONPATH, TESTS
from ..support.raw_websocket import BINARY, DEADLINE, PING, TEXT, RawClient, frame, wait_until

PAGE = os.sysconf("SC_PAGE_SIZE")
MEMORY = 32 * 2**20  # bytes more than before; the attacks below took 126 to 300 MiB
WAIT = 0.3  # seconds of CPU; without FRAMES_PER_TURN pings hold everybody up for 0.5 to 1
TICKS = os.sysconf("SC_CLK_TCK")  # in a second

Attack = Callable[[tuple[str, int]], None]


class Target:
    """A uvicorn process under attack."""

    def __init__(self, address: tuple[str, int], pid: int) -> None:
        self.address = address
        self._process = Path(f"/proc/{pid}")

    def memory(self) -> int:
        return int((self._process / "statm").read_text().split()[1]) * PAGE

    def worked(self) -> float:
        """Seconds of CPU since its start."""
        fields = (self._process / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def suffer(self, attack: Attack) -> tuple[int, float]:
        """Bytes more at the peak, and the seconds of work for which another client waited longest."""
        before, peaks, waits = self.memory(), [0], [0.0]
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.005):
                peaks.append(self.memory() - before)

        def talk() -> None:
            with RawClient(self.address) as client:
                client.socket.settimeout(60)
                while not over.wait(0.005):
                    worked = self.worked()
                    client.send(frame(TEXT, b"hello"))
                    client.next_frame()
                    waits.append(self.worked() - worked)

        threads = [threading.Thread(target=target) for target in (watch, talk)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(waits) > 3, "the other client")
        with suppress(ConnectionError):  # refused and closed while it sends on
            attack(self.address)
        over.set()
        for thread in threads:
            thread.join(60)
        return max(peaks), max(waits)


@contextmanager
def target(protocol: str) -> Iterator[Target]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = probe.getsockname()
    command = [
        *(
            sys.executable,
            "-m",
            "uvicorn",
            f"{TESTS}.support.asgi_apps:echo_and_length",
            "--port",
            str(address[1]),
        ),
        *("--ws", f"fast_channels.server:{protocol}", "--lifespan", "off"),
        *("--http", "fast_channels.server.http_protocol:HttpProtocol", "--log-level", "critical"),
    ]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": PYTHONPATH}) as process:
        try:
            wait_until(lambda: _answers(address), "uvicorn to start", 60)
            yield Target(address, process.pid)
        finally:
            process.kill()


def _answers(address: tuple[str, int]) -> bool:
    with suppress(OSError), socket.create_connection(address, DEADLINE):
        return True
    return False


def empty_fragments(address: tuple[str, int]) -> None:
    with RawClient(address) as client:
        client.send(frame(TEXT, b"", fin=False))
        client.send(frame(0, b"", fin=False) * 1_500_000)


def pings(address: tuple[str, int]) -> None:
    read_by_another_thread(address, frame(PING, b"") * 400_000, 400_000)


def pings_within_a_message(address: tuple[str, int]) -> None:
    data = frame(TEXT, b"", fin=False) + frame(PING, b"") * 300_000
    read_by_another_thread(address, data, 300_000)


def empty_texts(address: tuple[str, int]) -> None:
    read_by_another_thread(address, frame(TEXT, b"") * 50_000, 50_000)


def read_by_another_thread(address: tuple[str, int], data: bytes, answers: int) -> None:
    with RawClient(address) as client:
        client.socket.settimeout(60)
        sending = threading.Thread(target=client.send, args=(data,))
        sending.start()
        for _ in range(answers):
            client.next_frame()
        sending.join()


def large_message(address: tuple[str, int]) -> None:
    """16 MB in one frame; what it costs to parse is the application's."""
    with RawClient(address) as client:
        client.send(frame(TEXT, b"a" * 16_000_000))


def inflated(address: tuple[str, int], count: int, size: int) -> None:
    encoder = zlib.compressobj(wbits=-12)
    data = (encoder.compress(bytes(size)) + encoder.flush(zlib.Z_SYNC_FLUSH))[:-4]
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    with RawClient(address, headers=offer) as client:
        client.socket.settimeout(60)
        sending = threading.Thread(target=_send, args=(client, frame(BINARY, data, rsv=4) * count))
        sending.start()
        for _ in range(count):
            if client.next_frame() is None:
                break
        sending.join()


def _send(client: RawClient, data: bytes) -> None:
    with suppress(OSError):
        client.send(data)


def inflated_messages_too_large(address: tuple[str, int]) -> None:
    inflated(address, 40, 16_000_000)


def inflated_messages(address: tuple[str, int]) -> None:
    inflated(address, 500, 60_000)


def one_endless_header(address: tuple[str, int]) -> None:
    http(address, b"GET / HTTP/1.1\r\nHost: ", b"a" * 65536, 1000)


def many_headers(address: tuple[str, int]) -> None:
    http(address, b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"a: %b\r\n" % (b"b" * 8000), 12_000)


def declared_body(address: tuple[str, int]) -> None:
    http(
        address,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 98304000\r\n\r\n",
        bytes(65536),
        1500,
    )


def chunked_body(address: tuple[str, int]) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    http(address, head, b"10000\r\n%b\r\n" % bytes(65536), 1500)


def endless_trailers(address: tuple[str, int]) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    http(address, head, b"a: %b\r\n" % (b"b" * 8000), 12_000)


def http(address: tuple[str, int], head: bytes, piece: bytes, count: int) -> None:
    with socket.create_connection(address, 60) as client:
        client.sendall(head)
        for _ in range(count):
            client.sendall(piece)


@pytest.fixture(scope="module")
def plain() -> Iterator[Target]:
    with target("WebSocketProtocol") as one:
        yield one


@pytest.fixture(scope="module")
def compressing() -> Iterator[Target]:
    with target("CompressedWebSocketProtocol") as one:
        yield one


def survives(target: Target, attack: Attack) -> None:
    memory, wait = target.suffer(attack)
    print(f"{attack.__name__}: {memory >> 20} MiB, {wait:.2f} s")
    assert memory < MEMORY, f"{memory >> 20} MiB"
    assert wait < WAIT, f"{wait:.2f} s"


@pytest.mark.parametrize(
    "attack",
    [
        empty_fragments,
        pings,
        pings_within_a_message,
        empty_texts,
        large_message,
        one_endless_header,
        many_headers,
        declared_body,
        chunked_body,
        endless_trailers,
    ],
)
def test_one_client(plain: Target, attack: Attack) -> None:
    """It costs little memory, and the others are answered meanwhile."""
    survives(plain, attack)


@pytest.mark.parametrize("attack", [inflated_messages_too_large, inflated_messages])
def test_one_client_that_compresses(compressing: Target, attack: Attack) -> None:
    """A few bytes that inflate to many are refused before they do, or wait until it is their turn."""
    survives(compressing, attack)
