"""Messages that were given up: kept with a reason, looked at, tried again or deleted."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fast_channels.exceptions import ChannelFull, InvalidNameError, UndecodableMessage
from fast_channels.layers import DeadLetter, Delivery, Depth, InspectableWorkQueue

from ..support.backends import QUEUE, WORK, over
from ..support.expect import eventually, messages, silence

MakeLayer = Callable[..., Any]


async def lease(layer: Any, count: int = 1) -> list[Delivery]:
    async with asyncio.timeout(30):
        deliveries: list[Delivery] = await layer.lease("jobs", count)
    return deliveries


async def bury(layer: Any, *numbers: int, reason: str = "ValueError('no')") -> list[Delivery]:
    """Send messages with these numbers and give each of them up at its first attempt."""
    buried = []
    for number in numbers:
        await layer.send("jobs", {"number": number})
        (delivery,) = await lease(layer)
        await layer.reject(delivery, final=True, reason=reason)
        buried.append(delivery)
    return buried


def numbers_of(letters: list[DeadLetter]) -> list[int]:
    return [letter.message["number"] for letter in letters if letter.message is not None]


@over(WORK)
async def test_a_dead_letter_says_what_happened(layer: Any, peer_layer: Any) -> None:
    """The id of its deliveries, the message, the number of attempts, the last error, and when."""
    assert isinstance(layer, InspectableWorkQueue)
    assert await layer.dead_letters("jobs") == []
    await layer.send("jobs", {"number": 1})
    (first,) = await lease(layer)
    await layer.reject(first)
    (second,) = await lease(layer)
    await layer.reject(second, final=True, reason="ValueError('no')")
    (letter,) = await peer_layer.dead_letters("jobs")
    assert (letter.id, letter.message, letter.attempts) == (first.id, {"number": 1}, 2)
    assert letter.reason == "ValueError('no')"
    assert abs(letter.at - time.time()) < 60
    await silence(peer_layer, "jobs")


@over(WORK)
async def test_a_long_reason_is_cut(layer: Any) -> None:
    """500 characters are kept; characters that UTF-8 has not are no error."""
    await bury(layer, 1, reason="x" * 10_000)
    await bury(layer, 2, reason="half a pair: \ud83d")
    long, odd = await layer.dead_letters("jobs")
    assert len(long.reason) == 500
    assert odd.reason.startswith("half a pair")


@over(WORK)
async def test_letters_come_in_pages_the_oldest_first(layer: Any) -> None:
    await bury(layer, *range(5))
    first = await layer.dead_letters("jobs", count=2)
    second = await layer.dead_letters("jobs", count=2, after=first[-1].receipt)
    third = await layer.dead_letters("jobs", count=2, after=second[-1].receipt)
    assert [numbers_of(page) for page in (first, second, third)] == [[0, 1], [2, 3], [4]]


@over(WORK)
async def test_channels_have_their_own_letters(layer: Any) -> None:
    await bury(layer, 1)
    (letter,) = await layer.dead_letters("jobs")
    assert await layer.dead_letters("other") == []
    assert not await layer.discard("other", letter)
    assert not await layer.replay("other", letter)
    assert await layer.dead_letters("jobs") == [letter]


@over(WORK)
async def test_a_replayed_letter_is_as_new(layer: Any, peer_layer: Any) -> None:
    """Whoever waits gets it at once, at its first attempt, under its old id; the letter is gone."""
    (buried,) = await bury(layer, 1)
    (letter,) = await layer.dead_letters("jobs")
    waiting = asyncio.create_task(lease(layer))
    await asyncio.sleep(0.05)
    assert await peer_layer.replay("jobs", letter)
    (again,) = await waiting
    assert (again.id, again.attempt, again.message) == (buried.id, 1, {"number": 1})
    assert await layer.dead_letters("jobs") == []
    assert not await layer.replay("jobs", letter), "a letter is replayed once"
    await layer.acknowledge(again)
    assert await layer.depth("jobs") == Depth(0, 0, 0)


@over(WORK)
async def test_a_letter_can_be_mended(layer: Any) -> None:
    """The message that `replay` is given is the one that is delivered."""
    await bury(layer, 1)
    (letter,) = await layer.dead_letters("jobs")
    assert await layer.replay("jobs", replace(letter, message={"number": 100}))
    assert await messages(layer, "jobs") == [{"number": 100}]


@over(WORK)
async def test_a_full_channel_takes_no_letter(make_layer: MakeLayer) -> None:
    """ChannelFull, and the letter stays where it is."""
    layer = make_layer(capacity=1)
    await bury(layer, 1)
    (letter,) = await layer.dead_letters("jobs")
    await layer.send("jobs", {"number": 2})
    with pytest.raises(ChannelFull, match="jobs holds 1 unread"):
        await layer.replay("jobs", letter)
    assert await layer.dead_letters("jobs") == [letter]
    assert await messages(layer, "jobs") == [{"number": 2}]
    await eventually(lambda: _is_empty(layer), "the channel to be empty")
    assert await layer.replay("jobs", letter)


async def _is_empty(layer: Any) -> bool:
    depth: Depth = await layer.depth("jobs")
    return depth.waiting + depth.leased == 0


@over(WORK)
async def test_a_letter_can_be_discarded(layer: Any) -> None:
    """It is gone, once; its neighbours stay."""
    await bury(layer, 1, 2, 3)
    letter = (await layer.dead_letters("jobs"))[1]
    assert await layer.discard("jobs", letter)
    assert not await layer.discard("jobs", letter)
    assert not await layer.replay("jobs", letter)
    assert numbers_of(await layer.dead_letters("jobs")) == [1, 3]
    await silence(layer, "jobs")


@over(WORK)
async def test_depth(layer: Any, peer_layer: Any) -> None:
    """What waits, what is in work or waits for another attempt, and what was given up."""
    assert await layer.depth("jobs") == Depth(0, 0, 0)
    await bury(layer, 0)
    for number in range(4):
        await layer.send("jobs", {"number": number})
    assert await layer.depth("jobs") == Depth(waiting=4, leased=0, dead=1)
    first, second = await lease(layer, 2)
    assert await peer_layer.depth("jobs") == Depth(waiting=2, leased=2, dead=1)
    await layer.reject(first, delay=20)
    assert await layer.depth("jobs") == Depth(waiting=2, leased=2, dead=1)
    await layer.acknowledge(second)
    assert await layer.depth("jobs") == Depth(waiting=2, leased=1, dead=1)
    await layer.flush()
    assert await peer_layer.depth("jobs") == Depth(0, 0, 0)


@over(WORK)
async def test_depth_counts_no_expired_message(make_layer: MakeLayer) -> None:
    layer = make_layer(expiry=1.5)
    for number in range(2):
        await layer.send("jobs", {"number": number})
    await asyncio.sleep(1.6)
    await layer.send("jobs", {"number": 2})
    assert await layer.depth("jobs") == Depth(waiting=1, leased=0, dead=0)


@over(WORK)
async def test_names_are_checked(layer: Any) -> None:
    letter = DeadLetter("00" * 16, {}, 1, "", 0.0, "1")
    for call in (
        layer.depth("no spaces"),
        layer.dead_letters("no spaces"),
        layer.replay("no spaces", letter),
        layer.discard("no spaces", letter),
    ):
        with pytest.raises(InvalidNameError, match="no spaces"):
            await call


@over(QUEUE)
async def test_an_undecodable_message_is_kept_raw(make_layer: MakeLayer) -> None:
    """Its message is None; with the right key it can be read and replayed, without only discarded."""
    ours, theirs = (make_layer(symmetric_encryption_keys=[key]) for key in ("ours", "theirs"))
    for number in (1, 2):
        await theirs.send("jobs", {"number": number})
    await ours.send("jobs", {"number": 3})
    assert await messages(ours, "jobs") == [{"number": 3}], "what comes behind them"
    await eventually(lambda: _is_empty(ours), "the channel to be empty")
    assert ours.undecodable == 2
    first, second = await ours.dead_letters("jobs")
    assert (first.message, first.attempts) == (None, 1)
    assert "UndecodableMessage" in first.reason
    with pytest.raises(UndecodableMessage, match=first.id):
        await ours.replay("jobs", first)
    assert await ours.discard("jobs", first)
    (readable,) = await theirs.dead_letters("jobs")
    assert (readable.id, readable.message) == (second.id, {"number": 2})
    assert await theirs.replay("jobs", readable)
    assert await messages(theirs, "jobs") == [{"number": 2}]


@over(QUEUE)
async def test_a_letter_outlives_the_age_that_encryption_allows(
    make_layer: MakeLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encrypted message is refused when it is older than `expiry`; a letter is still readable, and
    replayed with a new seal.
    """
    monkeypatch.setattr("fast_channels.layers.redis.serializers.CLOCK_SKEW", 0)
    layer = make_layer(symmetric_encryption_keys=["ours"], expiry=2)
    await bury(layer, 1)
    await asyncio.sleep(3.1)  # Fernet counts whole seconds
    (letter,) = await layer.dead_letters("jobs")
    assert letter.message == {"number": 1}
    assert await layer.replay("jobs", letter)
    assert await messages(layer, "jobs") == [{"number": 1}]
