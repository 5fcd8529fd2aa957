"""The queue layer through outages: nothing that was accepted is lost, doubled or out of order."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from fast_channels.exceptions import ChannelLayerUnavailable
from fast_channels.layers import RedisChannelLayer
from fast_channels.layers.redis.batches import MOST_MESSAGES
from fast_channels.layers.redis.format import (
    UID_LENGTH,
    encode,
    encode_message,
    number_of,
)
from fast_channels.layers.redis.loop_layer import Uids

from ..support.expect import eventually, messages, silence
from ..support.redis_servers import RedisServer

COUNT = 500


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """Each write is on disk before it is answered, so that a kill loses nothing accepted."""
    with RedisServer(appendonly=True) as running:
        yield running


@pytest.fixture
async def listener(server: RedisServer) -> AsyncIterator[RedisChannelLayer]:
    async with RedisChannelLayer([server.url], capacity=2 * COUNT) as layer:
        yield layer


@pytest.fixture
async def sender(server: RedisServer) -> AsyncIterator[RedisChannelLayer]:
    async with RedisChannelLayer([server.url], capacity=2 * COUNT, timeout=15) as layer:
        yield layer


async def while_sending(
    send: Callable[[int], Any], disturb: Callable[[], Any], times: int, *, step: int = 1
) -> None:
    """Send `COUNT` messages, `step` at once, and disturb that, evenly, so many times."""
    progress = 0

    async def send_all() -> None:
        nonlocal progress
        for progress in range(0, COUNT, step):
            await asyncio.gather(*map(send, range(progress, progress + step)))

    sending = asyncio.create_task(send_all())
    async with asyncio.timeout(60):
        for time in range(1, times + 1):
            at = time * COUNT // (times + 1)
            await eventually(lambda at=at: progress >= at, f"message {at}", within=30)  # type: ignore[misc]
            await asyncio.to_thread(disturb)
        await sending


def numbers(received: list[dict[str, Any]]) -> list[int]:
    return [message["number"] for message in received]


@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("kinds", [("pubsub",), ("normal",), ("normal", "pubsub")])
async def test_killed_connections(
    listener: Any, sender: Any, server: RedisServer, kinds: tuple[str, ...], step: int
) -> None:
    """500 messages to a group and as many to a channel, one by one or some at once, under 10 kills:
    each once, in order.
    """
    channel, member = await listener.new_channel(), await listener.new_channel()
    await listener.group_add("room", member)

    async def send(number: int) -> None:
        await sender.group_send("room", {"number": number})
        await sender.send(channel, {"number": number})

    def kill() -> None:
        for kind in kinds:
            server.execute("CLIENT", "KILL", "TYPE", kind)

    await while_sending(send, kill, times=10, step=step)
    for one in (member, channel):
        assert numbers(await messages(listener, one, COUNT)) == list(range(COUNT))
        await silence(listener, one)


async def test_recovery_leaves_consumers_room(server: RedisServer, sender: Any) -> None:
    """More messages than a mailbox holds, that came in few batches, reach one that keeps reading."""
    number = 3 * MOST_MESSAGES
    async with RedisChannelLayer([server.url]) as listener:
        assert number > listener.capacity
        channel = await listener.new_channel()
        await listener.group_add("room", channel)
        topic = "asgi:g:{room}"
        outage = listener.loop_layer.strategy.on_subscribing([topic], time.monotonic())
        await asyncio.gather(*(sender.group_send("room", {"number": n}) for n in range(number)))
        assert server.execute("XLEN", topic) == number
        reading = asyncio.create_task(messages(listener, channel, number))
        listener.loop_layer.strategy.on_subscribed([topic], outage)
        assert numbers(await reading) == list(range(number))
        assert listener.dropped == 0


async def test_what_others_wrote_into_the_log_stops_no_recovery(
    server: RedisServer, listener: Any, sender: Any
) -> None:
    """It is skipped and counted, as it is when it comes live."""
    channel = await listener.new_channel()
    await listener.group_add("room", channel)
    topic = "asgi:g:{room}"
    outage = listener.loop_layer.strategy.on_subscribing([topic], time.monotonic())
    server.execute("XADD", topic, "*", "m", bytes(40), "i", "no number")
    server.execute("XADD", topic, "*", "m", b"\xff" * 40, "i", "1")
    server.execute("XADD", topic, "*", "else", "where")
    await sender.group_send("room", {"number": 1})
    listener.loop_layer.strategy.on_subscribed([topic], outage)
    assert numbers(await messages(listener, channel)) == [1]
    assert listener.undecodable == 3


async def test_of_a_repeated_batch_only_the_rest_is_handed_out(listener: Any) -> None:
    """When some of its messages were read from the log before."""
    channel = await listener.new_channel()
    await listener.group_add("room", channel)
    loop_layer = listener.loop_layer
    parts = [encode_message("", listener.serialize({"number": n})) for n in range(4)]
    whole = encode(Uids().make(4), parts)
    first = encode(whole[:UID_LENGTH], parts[:1])
    uid = (number_of(whole[:UID_LENGTH]) + 2).to_bytes(UID_LENGTH, "big")
    third = encode(uid, parts[2:3])
    for entry, envelope in enumerate((first, third, whole, first, whole), start=1):
        loop_layer.on_message(b"asgi:g:{room}", b"%d-0 - %b" % (entry, envelope))
    assert numbers(await messages(listener, channel, 4)) == [0, 2, 1, 3]
    await silence(listener, channel)


async def test_a_killed_server(listener: Any, sender: Any, server: RedisServer) -> None:
    """1,000 messages, with the server killed and restarted twice: each once, in order."""
    channel = await listener.new_channel()
    await listener.group_add("room", channel)

    def crash() -> None:
        server.kill()
        server.start()

    await while_sending(lambda n: sender.group_send("room", {"number": n}), crash, times=2)
    assert numbers(await messages(listener, channel, COUNT)) == list(range(COUNT))
    await silence(listener, channel)


async def test_a_paused_server(listener: Any, sender: Any, server: RedisServer) -> None:
    """The same with a server that hangs for a moment."""
    channel = await listener.new_channel()
    await listener.group_add("room", channel)

    def hang() -> None:
        server.pause()
        server.resume()

    await while_sending(lambda n: sender.group_send("room", {"number": n}), hang, times=5)
    assert numbers(await messages(listener, channel, COUNT)) == list(range(COUNT))


async def test_jobs_survive_a_killed_server(
    listener: Any, sender: Any, server: RedisServer
) -> None:
    """Accepted messages of a named channel are all received after a restart; none was in a queue
    of ours only.
    """
    for number in range(100):
        await sender.send("jobs", {"number": number})
    first = numbers(await messages(listener, "jobs", 10))
    await asyncio.to_thread(server.kill)
    waiting = asyncio.create_task(listener.receive("jobs"))
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(30):
        first.append((await waiting)["number"])
    rest = numbers(await messages(listener, "jobs", 100 - len(set(first)), within=40))
    assert set(first + rest) == set(range(100))


@pytest.fixture
async def early_channel(server: RedisServer) -> AsyncIterator[tuple[RedisChannelLayer, str]]:
    """A channel made while the server is gone, by a layer that looks for it only once a second by
    now; the server has just come back.
    """
    async with RedisChannelLayer([server.url], capacity=2 * COUNT, timeout=0.5) as layer:
        server.kill()
        for _ in range(4):
            with pytest.raises(ChannelLayerUnavailable):
                await layer.group_add("room", "member")
        channel = await layer.new_channel()
        await asyncio.to_thread(server.start)
        yield layer, channel


async def test_a_channel_made_in_an_outage_gets_what_is_accepted(
    early_channel: Any, sender: Any
) -> None:
    """Also what another process sends before the channel's own process is connected again."""
    listener, channel = early_channel
    await sender.send(channel, {"number": 1})
    assert await messages(listener, channel) == [{"number": 1}]


async def test_a_channel_made_in_an_outage_is_as_good_as_any(
    early_channel: Any, sender: Any, server: RedisServer
) -> None:
    """Its messages survive the next broken connections too."""
    listener, channel = early_channel
    await while_sending(
        lambda n: sender.send(channel, {"number": n}),
        lambda: server.execute("CLIENT", "KILL", "TYPE", "pubsub"),
        times=10,
    )
    assert numbers(await messages(listener, channel, COUNT)) == list(range(COUNT))


async def test_a_demoted_server_is_an_outage(server: RedisServer) -> None:
    """A server that became a replica refuses writes: `ChannelLayerUnavailable`, and no other."""
    async with RedisChannelLayer([server.url], timeout=0.5) as layer:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.send("jobs", {"number": 0})
        server.execute("REPLICAOF", "127.0.0.1", "1")
        for sending in (layer.group_send("room", {}), layer.send("jobs", {})):
            with pytest.raises(ChannelLayerUnavailable):
                await sending
        server.execute("REPLICAOF", "NO", "ONE")

        async def works() -> bool:
            try:
                await layer.group_send("room", {"type": "back"})
            except ChannelLayerUnavailable:
                return False
            return True

        await eventually(works, "the server to take writes")
        assert await messages(layer, channel) == [{"type": "back"}]


async def test_a_full_server_is_an_outage() -> None:
    """A server that is out of memory refuses writes: the same error, until there is room."""
    with RedisServer() as server:
        async with RedisChannelLayer([server.url], timeout=0.5) as layer:
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            server.execute("CONFIG", "SET", "maxmemory", "1")
            with pytest.raises(ChannelLayerUnavailable):
                await layer.group_send("room", {"number": 1})
            server.execute("CONFIG", "SET", "maxmemory", "0")
            await layer.group_send("room", {"number": 2})
            assert numbers(await messages(layer, channel)) == [2]


async def test_a_server_that_refuses_is_asked_again_now_and_then(server: RedisServer) -> None:
    """A receiver waits until its messages can be leased; meanwhile it asks a few times a second."""

    def requests() -> int:
        counted = server.execute("INFO", "commandstats").get("cmdstat_evalsha", {"calls": 0})
        return int(counted["calls"])

    async with RedisChannelLayer([server.url]) as layer:
        server.execute("SET", "asgi:c:{jobs}", "no stream")
        waiting = asyncio.create_task(layer.receive("jobs"))
        await eventually(lambda: requests() > 2, "some requests")
        before = requests()
        await asyncio.sleep(0.5)
        assert requests() - before < 20
        server.execute("DEL", "asgi:c:{jobs}")
        await layer.send("jobs", {"number": 1})
        async with asyncio.timeout(30):
            assert await waiting == {"number": 1}
