"""One connection that many callers share, against a server that answers as the test says."""

import asyncio
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import hiredis
import pytest
import uvloop
from redis.exceptions import ResponseError

from fast_channels.exceptions import ChannelLayerUnavailable
from fast_channels.layers.redis.batches import Batcher, Request
from fast_channels.layers.redis.client import (
    commands as commands_module,
    servers as servers_module,
)
from fast_channels.layers.redis.client.commands import (
    CONNECTION_ERRORS,
    NEVER,
    Connection,
    ConnectionLost,
)
from fast_channels.layers.redis.client.hosts import parse_hosts
from fast_channels.layers.redis.client.servers import KeptConnection

from ..support.expect import eventually
from ..support.redis_servers import RedisServer
from ..support.tls_certificate import make_certificate

Answer = Callable[[list[bytes]], bytes]


class FakeServer:
    """Keeps what it reads; `answer` makes the reply to a command, b"" for none."""

    def __init__(self) -> None:
        self.commands: list[list[bytes]] = []
        self.reads: list[int] = []  # how many commands came at once
        self.answer: Answer = lambda command: b"+OK\r\n"
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        parser = hiredis.Reader()
        while data := await reader.read(1 << 20):
            parser.feed(data)
            commands = []
            while (command := parser.gets()) is not False:
                commands.append(command)
            self.reads.append(len(commands))
            self.commands += commands
            for command in commands:
                self.send(self.answer(command))

    def send(self, data: bytes) -> None:
        self._writers[-1].write(data)

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
            await asyncio.wait([asyncio.create_task(writer.wait_closed())])


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    fake = FakeServer()
    listening = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.port = listening.sockets[0].getsockname()[1]
    yield fake
    await fake.close()
    listening.close()
    await listening.wait_closed()


class Running:
    """A connection and the task that runs it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.task = asyncio.create_task(connection.run())

    async def lost(self, match: str | None = None) -> None:
        """The run ends with an error that makes the layer connect again."""
        with pytest.raises(CONNECTION_ERRORS, match=match):
            async with asyncio.timeout(30):
                await self.task


@pytest.fixture
async def connect(server: FakeServer) -> AsyncIterator[Any]:
    runs: list[Running] = []

    async def connect(on_message: Any = None) -> Running:
        (endpoint,) = parse_hosts([("127.0.0.1", server.port)])
        made = endpoint.pool().make_connection()
        answer, server.answer = server.answer, lambda command: b"+OK\r\n"
        await made.connect()  # redis-py introduces itself
        server.answer = answer
        server.commands.clear()
        server.reads.clear()
        runs.append(Running(Connection(made, on_message)))
        return runs[-1]

    yield connect
    for run in runs:
        run.task.cancel()
        await asyncio.wait([run.task])
        assert run.task.cancelled() or isinstance(run.task.exception(), CONNECTION_ERRORS)


async def ask(connection: Connection, *command: Any) -> Any:
    return await connection.execute(command, NEVER)


def echo(command: list[bytes]) -> bytes:
    return b"+" + command[-1] + b"\r\n"


async def test_commands_of_one_turn_leave_in_one_write(server: FakeServer, connect: Any) -> None:
    """50 callers, one write, and each gets the reply to its own command."""
    server.answer = echo
    connection = (await connect()).connection
    replies = await asyncio.gather(*(ask(connection, "ECHO", number) for number in range(50)))
    assert replies == [str(number).encode() for number in range(50)]
    assert server.reads == [50]


async def test_an_error_reply_is_its_callers_alone(server: FakeServer, connect: Any) -> None:
    """Those before and behind it get theirs."""
    server.answer = lambda c: b"-ERR wrong\r\n" if c[-1] == b"1" else echo(c)
    connection = (await connect()).connection
    calls = (ask(connection, "ECHO", number) for number in range(3))
    first, second, third = await asyncio.gather(*calls, return_exceptions=True)
    assert (first, third) == (b"0", b"2")
    assert isinstance(second, ResponseError)


async def test_a_cancelled_caller_does_not_shift_the_replies(
    server: FakeServer, connect: Any
) -> None:
    """Its reply is thrown away when it comes; the next caller gets the next one."""
    server.answer = lambda command: b""
    connection = (await connect()).connection
    calls = [asyncio.create_task(ask(connection, "ECHO", number)) for number in range(3)]
    await eventually(lambda: len(server.commands) == 3, "the commands")
    calls[1].cancel()
    server.send(b"+0\r\n+1\r\n+2\r\n")
    await asyncio.wait(calls)
    assert calls[1].cancelled()
    assert (await calls[0], await calls[2]) == (b"0", b"2")


async def test_a_reply_that_nobody_asked_for_ends_the_connection(
    server: FakeServer, connect: Any
) -> None:
    """The order of replies cannot be trusted any more."""
    run = await connect()
    await ask(run.connection, "PING")
    server.send(b"+surprise\r\n")
    await run.lost("what nobody asked for: b'surprise'")


async def test_bytes_that_are_no_reply_end_the_connection(server: FakeServer, connect: Any) -> None:
    """As with a server that does not speak Redis; whoever waits is told."""
    server.answer = lambda command: b"HTTP/1.1 400 Bad Request\r\n\r\n"
    run = await connect()
    with pytest.raises(ConnectionLost):
        await ask(run.connection, "PING")
    await run.lost()


async def test_a_silent_server_is_lost(
    server: FakeServer, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `REPLY_TIMEOUT` without the reply that is due."""
    monkeypatch.setattr(commands_module, "HEARTBEAT", 0.01)
    monkeypatch.setattr(commands_module, "REPLY_TIMEOUT", 0.1)
    server.answer = lambda command: b""
    run = await connect()
    with pytest.raises(ConnectionLost, match="no reply"):
        await ask(run.connection, "GET", "x")
    await run.lost("no reply for 0.1 s")


async def test_an_idle_connection_is_looked_after(
    server: FakeServer, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PING every `HEARTBEAT`; a server that answers it is not lost."""
    monkeypatch.setattr(commands_module, "HEARTBEAT", 0.02)
    monkeypatch.setattr(commands_module, "REPLY_TIMEOUT", 1)
    run = await connect()
    await eventually(lambda: server.commands.count([b"PING"]) >= 75, "PINGs for longer than that")
    assert not run.task.done()


async def test_a_closed_connection_tells_everybody(server: FakeServer, connect: Any) -> None:
    """Those who wait and those who come later get `ConnectionLost`; `cast` is no error."""
    server.answer = lambda command: b""
    run = await connect()
    waiting = [asyncio.create_task(ask(run.connection, "GET", "x")) for _ in range(3)]
    await eventually(lambda: len(server.commands) == 3, "the commands")
    await server.close()
    await run.lost()
    for call in [*waiting, ask(run.connection, "PING")]:
        with pytest.raises(ConnectionLost):
            await call
    run.connection.cast("SUBSCRIBE", "x")


async def test_a_cancelled_run_tells_everybody(server: FakeServer, connect: Any) -> None:
    """Closing the layer ends the waits of its callers."""
    server.answer = lambda command: b""
    run = await connect()
    waiting = asyncio.create_task(ask(run.connection, "GET", "x"))
    await eventually(lambda: len(server.commands) == 1, "the command")
    run.task.cancel()
    with pytest.raises(ConnectionLost, match="closed"):
        await waiting


async def test_a_replica_is_no_server_to_write_to(server: FakeServer, connect: Any) -> None:
    """READONLY ends the connection: its successor asks the Sentinels for the primary."""
    server.answer = lambda command: b"-READONLY You can't write against a read only replica.\r\n"
    run = await connect()
    with pytest.raises(ConnectionLost, match="replica"):
        await ask(run.connection, "SET", "x", 1)
    await run.lost("replica")


async def test_callers_over_the_limit_wait(
    server: FakeServer, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than `MAX_PENDING` commands are unanswered; the others go when there is room."""
    monkeypatch.setattr(commands_module, "MAX_PENDING", 2)
    server.answer = lambda command: b""
    connection = (await connect()).connection
    calls = [asyncio.create_task(ask(connection, "ECHO", number)) for number in range(3)]
    await eventually(lambda: len(server.commands) == 2, "two commands")
    await asyncio.sleep(0.05)
    assert len(server.commands) == 2
    server.answer = echo
    server.send(b"+0\r\n+1\r\n")
    assert await asyncio.gather(*calls) == [b"0", b"1", b"2"]


async def test_turns_come_in_the_order_of_the_callers(
    server: FakeServer, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is cancelled, or gives up, takes nobody's turn; a late caller overtakes no one."""
    monkeypatch.setattr(commands_module, "MAX_PENDING", 1)
    server.answer = lambda command: b""
    connection = (await connect()).connection
    first, *others = [asyncio.create_task(ask(connection, "ECHO", number)) for number in range(5)]
    now = asyncio.get_running_loop().time()
    impatient = asyncio.create_task(wait_for_reply(connection, 5, now + 0.02))
    await eventually(impatient.done, "the one that gives up")
    assert isinstance(impatient.exception(), TimeoutError)
    others.pop(1).cancel()
    server.answer = echo
    server.send(b"+0\r\n")
    late = asyncio.create_task(ask(connection, "ECHO", 6))
    assert await asyncio.gather(first, *others, late) == [b"0", b"1", b"3", b"4", b"6"]
    assert [command[1] for command in server.commands] == [b"0", b"1", b"3", b"4", b"6"]


@pytest.mark.parametrize("steps", range(4))
async def test_a_turn_that_is_cancelled_is_the_next_ones(
    server: FakeServer, connect: Any, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Also if it had been given already, in whichever step of the loop."""
    monkeypatch.setattr(commands_module, "MAX_PENDING", 1)
    server.answer = lambda command: b""
    connection = (await connect()).connection
    _, second, third = [asyncio.create_task(ask(connection, "ECHO", number)) for number in range(3)]
    await eventually(lambda: len(server.commands) == 1, "the first command")
    server.answer = echo
    connection.data_received(b"+0\r\n")
    for _ in range(steps):
        await asyncio.sleep(0)
    second.cancel()
    assert await third == b"2"


async def test_whoever_waits_for_a_turn_is_told_of_the_loss(
    server: FakeServer, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them, whether a task waits or a function is to be called."""
    monkeypatch.setattr(commands_module, "MAX_PENDING", 1)
    server.answer = lambda command: b""
    run = await connect()
    calls = [asyncio.create_task(ask(run.connection, "ECHO", number)) for number in range(3)]
    await eventually(lambda: len(server.commands) == 1, "the first command")
    told: list[bool] = []
    reply = asyncio.get_running_loop().create_future()
    run.connection.when_room(lambda: told.append(run.connection.lost), reply)
    await server.close()
    await run.lost()
    for call in calls:
        with pytest.raises(ConnectionLost):
            await call
    assert told == [True]


async def test_time_in_which_the_loop_stood_still_is_not_the_servers(
    server: FakeServer, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply that comes right after it counts, although the deadline has passed."""
    monkeypatch.setattr(commands_module, "REPLY_TIMEOUT", 0.2)
    monkeypatch.setattr(commands_module, "HEARTBEAT", 0.05)
    server.answer = lambda command: b""
    run = await connect()
    deadline = asyncio.get_running_loop().time() + 0.3
    call = asyncio.create_task(wait_for_reply(run.connection, 1, deadline))
    await eventually(lambda: len(server.commands) == 1, "the command")
    time.sleep(0.6)  # noqa: ASYNC251 -- the process is busy with something else
    asyncio.get_running_loop().call_later(0.01, server.send, b"+1\r\n")
    assert await call == b"1"
    assert not run.connection.lost


async def test_a_senders_time_begins_when_it_is_its_turn(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred topics at a slow server take much longer than the timeout of each, and none fails."""
    monkeypatch.setattr(commands_module, "MAX_PENDING", 2)
    loop = asyncio.get_running_loop()

    def answer(command: list[bytes]) -> bytes:
        if command[0] != b"PUBLISH":
            return b"+OK\r\n"
        loop.call_later(0.03, server.send, b":0\r\n")
        return b""

    server.answer = answer
    kept = KeptConnection(parse_hosts([("127.0.0.1", server.port)])[0], 0.5)
    await kept.connected(loop.time() + 30)

    def request(topic: str, messages: list[bytes]) -> Request:
        return kept, ("PUBLISH", topic, *messages)

    batcher = Batcher(request)
    started = loop.time()
    sends = [batcher.send(f"{number}", b"m") for number in range(100)]
    assert await asyncio.gather(*sends, return_exceptions=True) == [None] * 100
    assert loop.time() - started > 1.0
    published = [command[1] for command in server.commands if command[0] == b"PUBLISH"]
    assert published == [b"%d" % number for number in range(100)]
    await kept.aclose()


async def test_a_deadline_ends_one_wait(server: FakeServer, connect: Any) -> None:
    """Each caller gives up at its own; the reply that comes later is nobody else's."""
    server.answer = lambda command: b""
    connection = (await connect()).connection
    now = asyncio.get_running_loop().time()
    deadlines = (now + 0.05, now + 60, now + 0.02)
    calls = [
        asyncio.create_task(wait_for_reply(connection, number, deadline))
        for number, deadline in enumerate(deadlines)
    ]
    done, _ = await asyncio.wait([calls[0], calls[2]], timeout=30)
    assert {type(call.exception()) for call in done} == {TimeoutError}
    assert len(done) == 2
    assert not calls[1].done()
    server.send(b"+0\r\n+1\r\n+2\r\n")
    assert await calls[1] == b"1"
    server.answer = echo
    assert await ask(connection, "ECHO", "next") == b"next"


async def wait_for_reply(connection: Connection, number: int, deadline: float) -> Any:
    return await connection.execute(("ECHO", number), deadline)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_through_tls(loop: str, tmp_path: Path) -> None:
    """The same over an encrypted connection, on both event loops: small replies and large ones."""
    certificate = make_certificate(tmp_path)

    async def talk() -> None:
        fake = FakeServer()
        listening = await asyncio.start_server(
            fake.serve, "127.0.0.1", 0, ssl=certificate.server(), limit=1 << 21
        )
        port = listening.sockets[0].getsockname()[1]
        patient = {"ssl_ca_certs": certificate.certificate, "socket_connect_timeout": 30}
        hosts = [f"rediss://127.0.0.1:{port}"]
        (endpoint,) = parse_hosts(hosts, connection_kwargs=patient)
        connection = endpoint.pool().make_connection()
        await connection.connect()
        fake.answer = lambda command: b"$%d\r\n%b\r\n" % (len(command[-1]), command[-1])
        run = Running(Connection(connection))
        texts = [b"x" * size for size in (0, 1, 1000, 1_000_000)]
        assert await asyncio.gather(*(ask(run.connection, "ECHO", text) for text in texts)) == texts
        await fake.close()
        await run.lost()
        listening.close()
        await listening.wait_closed()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
        runner.run(talk())


def test_what_a_failed_test_leaves_open_does_not_hold_up_uvloop() -> None:
    """It is closed with the loop, which warns of it: an error there has ``close()`` never return."""

    def leave_open() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(asyncio.start_server(FakeServer().serve, "127.0.0.1", 0))

    with warnings.catch_warnings(record=True):
        leaving = threading.Thread(target=leave_open, daemon=True)
        leaving.start()
        leaving.join(30)
    assert not leaving.is_alive(), "the loop does not close; see filterwarnings in pyproject.toml"


async def test_a_server_that_is_loading_is_lost(server: FakeServer, connect: Any) -> None:
    """It would refuse every command for as long as that takes; whoever asked is told."""
    server.answer = lambda command: b"-LOADING Redis is loading the dataset in memory\r\n"
    run = await connect()
    with pytest.raises(ConnectionLost, match="loading"):
        await ask(run.connection, "GET", "x")
    await run.lost("loading")


@pytest.mark.parametrize(
    "refusal", ["NOAUTH Authentication required.", "LOADING Redis is loading the dataset in memory"]
)
async def test_a_server_that_refuses_everything_is_told_of_once(
    server: FakeServer, caplog: pytest.LogCaptureFixture, refusal: str
) -> None:
    """But for the introduction: its connections open, none counts as one, and the attempts back off."""

    def answer(command: list[bytes]) -> bytes:
        return b"+OK\r\n" if command[0] == b"CLIENT" else f"-{refusal}\r\n".encode()

    server.answer = answer
    kept = KeptConnection(parse_hosts([("127.0.0.1", server.port)])[0], timeout=1)
    caplog.set_level("INFO")
    try:
        for _ in range(2):
            with pytest.raises(ChannelLayerUnavailable, match=refusal.split()[-1]):
                await kept.execute("GET", "x")
        told = [one for one in caplog.records if one.name.startswith("fast_channels")]
        assert [one.levelname for one in told] == ["WARNING"]
        assert kept.down
        assert (
            len(server._writers) < 12
        )  # in two seconds: after 0.05, 0.1, 0.2 … 1 s, or half of it
        server.answer = lambda command: b"+OK\r\n"
        assert await kept.execute("GET", "x") == b"OK"
    finally:
        await kept.aclose()


async def test_callers_wait_while_the_server_does_not_read(connect: Any) -> None:
    """What the transport cannot pass on is bounded; a caller over that gives up at its deadline."""
    connection = (await connect()).connection
    connection.pause_writing()
    deadline = asyncio.get_running_loop().time() + 0.02
    with pytest.raises(TimeoutError):
        await connection.execute(("ECHO", "one"), deadline)
    call = asyncio.create_task(ask(connection, "ECHO", "two"))
    await asyncio.sleep(0)
    connection.resume_writing()
    assert await call == b"OK"


async def test_a_subscribers_messages_are_handed_out(server: FakeServer, connect: Any) -> None:
    """Between replies, in order; what SUBSCRIBE answers and a PONG as a list are understood."""
    heard: list[tuple[bytes, bytes]] = []

    def answer(command: list[bytes]) -> bytes:
        if command[0] == b"SUBSCRIBE":
            return b"*3\r\n$9\r\nsubscribe\r\n$1\r\nt\r\n:1\r\n"
        message = b"*3\r\n$7\r\nmessage\r\n$1\r\nt\r\n$%d\r\n%s\r\n"
        pong = b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
        return message % (3, b"one") + pong + message % (3, b"two")

    server.answer = answer
    connection = (await connect(lambda topic, data: heard.append((topic, data)))).connection
    connection.cast("SUBSCRIBE", "t")
    assert await ask(connection, "PING") == [b"pong", b""]
    await eventually(lambda: len(heard) == 2, "both messages")
    assert heard == [(b"t", b"one"), (b"t", b"two")]


async def test_a_connection_that_is_lost_while_it_opens_is_given_to_nobody(
    redis_server: RedisServer,
) -> None:
    """Repeating a command at each loss would not end; the loss is told, as what was opened is gone."""
    opened: list[Connection] = []
    losses: list[int] = []

    async def on_open(connection: Connection) -> None:
        opened.append(connection)
        if len(opened) == 1:
            connection.lose(ConnectionLost("in the middle of the opening"))

    kept = KeptConnection(
        parse_hosts([redis_server.url])[0],
        timeout=5,
        on_open=on_open,
        on_lost=lambda: losses.append(len(opened)),
    )
    try:
        assert await kept.connected(asyncio.get_running_loop().time() + 30) is opened[1]
        assert losses == [1]
        assert await kept.execute("PING") == b"PONG"
    finally:
        await kept.aclose()


async def test_a_server_that_accepts_and_says_nothing_is_given_up(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is frozen: the next attempt asks the Sentinels again, which may name another."""
    monkeypatch.setattr(servers_module, "REPLY_TIMEOUT", 0.1)
    server.answer = lambda command: b""
    kept = KeptConnection(parse_hosts([("127.0.0.1", server.port)])[0], timeout=1)
    kept.start()
    try:
        await eventually(lambda: len(server._writers) == 2, "another attempt")
        assert kept.down
        server.answer = lambda command: b"+OK\r\n"
        await kept.connected(asyncio.get_running_loop().time() + 30)
        await asyncio.sleep(0.2)
        assert not kept.down  # an idle connection is no silent one
    finally:
        await kept.aclose()
