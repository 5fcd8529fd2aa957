"""What is sent in one turn of the loop to one topic travels together; see the invariants of `batches`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from fast_channels.exceptions import ChannelFull, ChannelLayerUnavailable
from fast_channels.layers.redis import batches as batches_module
from fast_channels.layers.redis.batches import MOST_BYTES, MOST_MESSAGES, Batcher, Outcome, Request
from fast_channels.layers.redis.client.commands import (
    Command,
    Commands,
    Connection,
    ConnectionLost,
    Pending,
    Reply,
)


class Server:
    """Stands for a connection: takes down what is written, and answers when it is told to."""

    def __init__(self, *, connected: bool = True) -> None:
        self.opened = asyncio.Event()
        if connected:
            self.opened.set()
        self.waiting = 0  # for a connection
        self.has_room, self.lost = True, False
        self.turns: list[Callable[[], None]] = []
        self.successor: Server = self
        self.writes: list[list[Command]] = []
        self.completed: list[tuple[Command, Exception | None]] = []
        self.completion: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.replies: list[Pending] = []
        self._offered: list[Command] = []
        self.timeout = 1.0

    @property
    def connection(self) -> Connection | None:
        return cast(Connection, self.successor) if self.opened.is_set() else None

    def when_room(self, turn: Callable[[], None], reply: Pending) -> None:
        self.turns.append(turn)

    async def connected(self, deadline: float) -> Connection:
        self.waiting += 1
        await self.opened.wait()
        return cast(Connection, self)

    def adapted(self, command: Command) -> Command:
        return command

    def send(self, command: Command, reply: Pending, deadline: float) -> None:
        self._offered.append(command)
        self.replies.append(reply)

    def write_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self.write_pending)

    def write_pending(self) -> None:
        if self._offered:
            self.writes.append(self._offered)
        self._offered = []

    def complete(
        self, command: Command, deadline: float, *, after: Exception | None, **_: Any
    ) -> Awaitable[Reply]:
        self.completed.append((command, after))
        return self.completion


def make(
    server: Server, outcomes: Callable[[str, int, Reply], list[Outcome]] | None = None
) -> Batcher:
    def request(topic: str, messages: list[bytes]) -> Request:
        return cast(Commands, server), (topic, *messages)

    return Batcher(request, outcomes)


async def a_turn() -> None:
    await asyncio.sleep(0)


async def test_one_command_for_each_topic_and_one_write_for_all() -> None:
    """In the order of the sends; each sender is told when its batch is confirmed, not before."""
    server = Server()
    batcher = make(server)
    senders = [batcher.send(topic, b"%d" % n) for n, topic in enumerate("abacb")]
    await a_turn()
    assert server.writes == [[("a", b"0", b"2"), ("b", b"1", b"4"), ("c", b"3")]]
    assert not any(sender.done() for sender in senders)
    server.replies[1].set_result(b"OK")
    assert [sender.done() for sender in senders] == [False, True, False, False, True]
    later = batcher.send("a", b"later")
    await a_turn()
    assert server.writes[1:] == [[("a", b"later")]]
    assert not later.done()


async def test_a_batch_is_bounded_and_its_topic_keeps_its_order() -> None:
    """By the number of its messages and by their bytes."""
    server = Server()
    batcher = make(server)
    number = 2 * MOST_MESSAGES + 1
    for n in range(number):
        batcher.send("many", b"%d" % n)
    for _ in range(3):
        batcher.send("large", bytes(MOST_BYTES - 1))
    await a_turn()
    (commands,) = server.writes
    many = [messages for topic, *messages in commands if topic == "many"]
    assert [len(messages) for messages in many] == [MOST_MESSAGES, MOST_MESSAGES, 1]
    assert [int(message) for messages in many for message in messages] == list(range(number))
    assert [len(messages) for topic, *messages in commands if topic == "large"] == [2, 1]


async def test_a_sender_that_is_cancelled_leaves_the_others_alone() -> None:
    """Its message was sent already, as that of anybody whose wait for a reply is cut off."""
    server = Server()
    batcher = make(server)
    first, second = (batcher.send("a", message) for message in (b"1", b"2"))
    first.cancel()
    await a_turn()
    assert server.writes == [[("a", b"1", b"2")]]
    server.replies[0].set_result(b"OK")
    assert second.done()
    assert second.exception() is None


@pytest.mark.parametrize("connected", [True, False])
async def test_what_the_first_attempt_did_not_bring_is_gone_on_with(connected: bool) -> None:
    """Also if it had to wait for a connection; each sender gets an exception of its own at the end."""
    server = Server(connected=connected)
    batcher = make(server)
    senders = [batcher.send("a", message) for message in (b"1", b"2")]
    for _ in range(3):
        await a_turn()
    assert server.writes == [[("a", b"1", b"2")]] * connected
    server.opened.set()
    for _ in range(3):
        await a_turn()
    assert server.writes == [[("a", b"1", b"2")]]
    lost = ConnectionLost("lost")
    server.replies[0].set_exception(lost)
    assert server.replies[0].done()
    await a_turn()
    assert server.completed == [(("a", b"1", b"2"), lost)]
    server.completion.set_exception(ChannelLayerUnavailable("no"))
    errors = await asyncio.gather(*senders, return_exceptions=True)
    assert [repr(error) for error in errors] == ["ChannelLayerUnavailable('no')"] * 2
    assert errors[0] is not errors[1]


async def test_each_message_has_its_own_outcome() -> None:
    """The last of three may find no room."""

    def outcomes(topic: str, number: int, reply: Reply) -> list[Outcome]:
        assert (topic, number) == ("a", 3)
        return [None] * reply + [ChannelFull(str(n)) for n in range(reply, number)]

    server = Server()
    batcher = make(server, outcomes)
    senders = [batcher.send("a", b"m") for _ in range(3)]
    await a_turn()
    server.replies[0].set_result(1)
    results = await asyncio.gather(*senders, return_exceptions=True)
    assert [repr(result) for result in results] == ["None", "ChannelFull('1')", "ChannelFull('2')"]


@pytest.mark.parametrize(
    ("messages", "size", "sent"), [(3, 10_000, 3), (10_000, 10, 2), (10_000, 9, 2)]
)
async def test_what_waits_is_bounded(
    monkeypatch: pytest.MonkeyPatch, messages: int, size: int, sent: int
) -> None:
    """In messages and in bytes; one more is refused at once, until others are confirmed or fail."""
    monkeypatch.setattr(batches_module, "MOST_WAITING", messages)
    monkeypatch.setattr(batches_module, "MOST_WAITING_BYTES", size)
    server = Server()
    batcher = make(server)
    for attempt in range(3):
        senders = [batcher.send("a", b"12345") for _ in range(sent)]
        with pytest.raises(ChannelLayerUnavailable, match=f"since {sent} messages of {5 * sent} b"):
            batcher.send("b", b"12345")
        await a_turn()
        assert server.writes[-1] == [("a", *[b"12345"] * sent)]
        if attempt:
            server.replies[-1].set_result(b"OK")
        else:
            server.completion.set_exception(ChannelLayerUnavailable("no"))
            server.replies[-1].set_exception(ConnectionLost("lost"))
        await asyncio.wait(senders)
        assert [sender.exception() is None for sender in senders] == [bool(attempt)] * sent


async def test_only_some_wait_in_tasks_for_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others follow in their order when there is one, and are told when the time is over."""
    monkeypatch.setattr(batches_module, "MOST_TASKS", 2)
    server = Server(connected=False)
    batcher = make(server)
    senders = [batcher.send(f"{n}", b"m") for n in range(5)]
    for _ in range(3):
        await a_turn()
    assert server.waiting == 2
    server.opened.set()
    for _ in range(5):
        await a_turn()
    assert [topic for write in server.writes for topic, _ in write] == ["0", "1", "2", "3", "4"]
    for reply in server.replies:
        reply.set_result(b"OK")
    assert await asyncio.gather(*senders) == [None] * 5


async def test_a_connection_that_is_lost_while_a_batch_waits_for_its_turn() -> None:
    """Nothing was sent, so it goes by the one that has taken over, at once, or waits for one."""
    server = Server()
    server.has_room = False
    batcher = make(server)
    first, second = batcher.send("a", b"1"), batcher.send("b", b"2")
    await a_turn()
    assert server.writes == []
    server.lost = True
    server.successor = Server()
    server.turns[0]()
    await a_turn()
    assert server.successor.writes == [[("a", b"1")]]
    server.opened.clear()
    server.turns[1]()
    await a_turn()
    server.opened.set()
    for _ in range(3):
        await a_turn()
    assert server.successor.writes[1:] == [[("b", b"2")]]
    for reply in server.successor.replies:
        reply.set_result(b"OK")
    assert await asyncio.gather(first, second) == [None, None]


async def test_a_request_that_cannot_be_made() -> None:
    """Its senders are told."""

    def fail(topic: str, messages: list[bytes]) -> Request:
        raise LookupError(topic)

    with pytest.raises(LookupError, match="a"):
        await Batcher(fail).send("a", b"m")


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_closing_ends_every_wait(turns: int) -> None:
    """Before the batch is begun, before its task begins, and later."""
    server = Server(connected=False)
    batcher = make(server)
    waiting = batcher.send("a", b"m")
    for _ in range(turns):
        await a_turn()
    assert bool(server.waiting) == (turns > 1)
    await batcher.aclose()
    for sender in (waiting, batcher.send("a", b"later")):
        with pytest.raises(ChannelLayerUnavailable, match="closed"):
            async with asyncio.timeout(30):
                await sender
