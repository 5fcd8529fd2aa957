"""With keys, a message is read where it was sent, and nowhere else; whoever can write to Redis has none."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable

import pytest
import redis.asyncio

from fast_channels.layers import BaseChannelLayer, RedisChannelLayer
from fast_channels.layers.redis.format import UID_LENGTH, decode, encode, encode_message
from fast_channels.layers.redis.layer import RedisLayer
from fast_channels.layers.redis.loop_layer import Uids

from ..support.backends import OWN, QUEUE, REDIS, Backend, over
from ..support.expect import eventually, messages, silence

# What a log puts before an envelope, which begins with random bytes: the ids of two entries.
HEAD = re.compile(rb"\d+-\d+ (-|\d+-\d+) ")
STANDALONE = ["pubsub-standalone", "queue-standalone"]


@pytest.fixture
async def layer(make_layer: Callable[..., BaseChannelLayer]) -> RedisLayer:
    made = make_layer(symmetric_encryption_keys=["secret"])
    assert isinstance(made, RedisLayer)
    return made


@pytest.fixture
async def tap(layer: RedisLayer, redis_client: redis.asyncio.Redis) -> AsyncIterator["Tap"]:
    async with redis_client.pubsub() as pubsub:
        await pubsub.psubscribe(f"{layer.prefix}:*")
        yield Tap(redis_client, pubsub)


class Tap:
    """Somebody who reads and writes in Redis, without a key."""

    def __init__(self, client: redis.asyncio.Redis, pubsub: "redis.asyncio.client.PubSub") -> None:
        self.client = client
        self._pubsub = pubsub

    async def heard(self) -> tuple[str, bytes, bytes]:
        """Topic, what stands before the envelope, and the envelope of the next notification."""
        async with asyncio.timeout(10):
            while True:
                event = await self._pubsub.get_message(timeout=1)
                if event is not None and event["type"] == "pmessage":
                    break
        data: bytes = event["data"]
        head = HEAD.match(data)
        start = head.end() if head else 0
        return event["channel"].decode(), data[:start], data[start:]


@over(REDIS)
async def test_encrypted_messages_arrive(layer: RedisLayer) -> None:
    """By groups, own channels and named channels; many in one batch keep their order."""
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    await asyncio.gather(*(layer.group_send("room", {"number": n}) for n in range(90)))
    assert [one["number"] for one in await messages(layer, channel, 90)] == list(range(90))
    await asyncio.gather(*(layer.send(channel, {"number": n}) for n in range(60)))
    assert [one["number"] for one in await messages(layer, channel, 60)] == list(range(60))
    assert layer.undecodable == 0


@over(QUEUE)
async def test_encrypted_jobs_arrive(layer: RedisChannelLayer) -> None:
    """Also through a group, and after they were given up and replayed under their old id."""
    await layer.send("jobs", {"type": "one"})
    (delivery,) = await layer.lease("jobs")
    await layer.reject(delivery, final=True, reason="no")
    (letter,) = await layer.dead_letters("jobs")
    assert letter.message == {"type": "one"}
    assert await layer.replay("jobs", letter)
    (again,) = await layer.lease("jobs")
    assert (again.message, again.id) == ({"type": "one"}, delivery.id)
    await layer.group_add("room", "jobs")
    await layer.group_send("room", {"type": "two"})
    assert await messages(layer, "jobs") == [{"type": "two"}]
    assert layer.undecodable == 0


@over(STANDALONE)
async def test_a_message_of_one_room_is_not_read_in_another(layer: RedisLayer, tap: Tap) -> None:
    """Nor in its own room as a message of another uid, which would be one more."""
    channel = await layer.new_channel()
    for room in ("a", "b"):
        await layer.group_add(room, channel)
    await layer.group_send("a", {"type": "x"})
    topic, head, envelope = await tap.heard()
    assert await messages(layer, channel) == [{"type": "x"}]
    await tap.client.publish(topic.replace("{a}", "{b}"), head + Uids().make() + envelope[16:])
    await tap.client.publish(topic, head + Uids().make() + envelope[UID_LENGTH:])
    await eventually(lambda: layer.undecodable == 2, "the two to be counted")
    await silence(layer, channel)


@over(STANDALONE)
async def test_a_message_for_one_socket_is_not_read_by_another(layer: RedisLayer, tap: Tap) -> None:
    """Both in the same process: the inbox is one, the channel's name is bound as well."""
    one, other = await layer.new_channel(), await layer.new_channel()
    await layer.send(one, {"type": "x"})
    topic, head, envelope = await tap.heard()
    assert await messages(layer, one) == [{"type": "x"}]
    ((_, payload, _),) = decode(envelope)
    uid = envelope[:UID_LENGTH]
    forged = encode(uid[:-1] + bytes([uid[-1] ^ 128]), [encode_message(other, payload)])
    await tap.client.publish(topic, head + forged)
    await eventually(lambda: layer.undecodable == 1, "it to be counted")
    await silence(layer, other)


@over(["queue-standalone"])
async def test_a_job_is_not_read_from_another_queue(
    layer: RedisChannelLayer, redis_client: redis.asyncio.Redis
) -> None:
    """It is kept there as a dead letter that cannot be decoded."""
    await layer.send("a", {"type": "x"})
    ((_, fields),) = await redis_client.xrange(f"{layer.prefix}:c:{{a}}")
    await redis_client.xadd(f"{layer.prefix}:c:{{b}}", fields)
    receiving = asyncio.create_task(layer.receive("b"))
    await eventually(lambda: layer.undecodable == 1, "it to be counted")

    async def kept() -> bool:
        letters = await layer.dead_letters("b")
        return [(one.message, "another place" in one.reason) for one in letters] == [(None, True)]

    await eventually(kept, "the dead letter")
    assert not receiving.done()
    receiving.cancel()
    assert await messages(layer, "a") == [{"type": "x"}]


@over(OWN)
async def test_what_was_missed_is_read_from_the_log(
    backend: Backend, layer: RedisChannelLayer, redis_client: redis.asyncio.Redis
) -> None:
    """Each entry at its place, also those of a batch."""
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    async with backend.make(symmetric_encryption_keys=["secret"]) as sender:
        for start in (0, 10, 20):
            await redis_client.client_kill_filter(_type="pubsub", skipme=True)
            sends = (sender.group_send("room", {"number": start + n}) for n in range(10))
            await asyncio.gather(*sends)
    received = [one["number"] for one in await messages(layer, channel, 30)]
    assert received == list(range(30))
    assert layer.undecodable == 0
