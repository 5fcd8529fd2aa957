"""The bounded buffer: order, overflow, expiry, and waiting that takes nothing."""

import asyncio
import threading
import time
from typing import Any

import pytest

from fast_channels.mailbox import Mailbox


def put_all(mailbox: Mailbox, *numbers: int) -> list[bool]:
    return [mailbox.put({"n": number}) for number in numbers]


def take_all(mailbox: Mailbox) -> list[Any]:
    taken = []
    while (message := mailbox.take()) is not None:
        taken.append(message["n"])
    return taken


def test_first_in_first_out() -> None:
    """Messages are taken in the order in which they were put; an empty mailbox gives None."""
    mailbox = Mailbox(3)
    assert put_all(mailbox, 1, 2, 3) == [True] * 3
    assert (len(mailbox), mailbox.full, mailbox.idle) == (3, True, False)
    assert take_all(mailbox) == [1, 2, 3]
    assert (len(mailbox), mailbox.full, mailbox.idle) == (0, False, True)


def test_what_waits_can_be_withdrawn() -> None:
    """Only what is meant; the rest keeps its order."""
    mailbox = Mailbox(5)
    put_all(mailbox, 1, 2, 1, 3)
    mailbox.withdraw(lambda message: message["n"] == 1)
    assert take_all(mailbox) == [2, 3]
    mailbox.withdraw(lambda message: True)
    assert mailbox.idle


@pytest.mark.parametrize(
    ("overflow", "kept", "overflowed"),
    [("drop_newest", [1, 2], False), ("drop_oldest", [2, 3], False), ("close", [1, 2], True)],
)
def test_overflow(overflow: Any, kept: list[int], overflowed: bool) -> None:
    """What is over the capacity goes by the policy, is told to the putter and counted."""
    mailbox = Mailbox(2, overflow=overflow)
    assert put_all(mailbox, 1, 2, 3) == [True, True, False]
    assert (mailbox.dropped, mailbox.overflowed) == (1, overflowed)
    assert take_all(mailbox) == kept


def test_a_misspelt_policy_is_refused() -> None:
    """The error names the policies that there are."""
    policy: Any = "drop_oldset"
    with pytest.raises(ValueError, match="'drop_newest', 'drop_oldest', 'close'"):
        Mailbox(1, overflow=policy)
    with pytest.raises(ValueError, match="drop_oldset"):
        Mailbox(1).set_overflow(policy)


def test_expired_messages_are_not_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `expiry` seconds a message is gone and counted; it takes no room before that is seen."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    mailbox = Mailbox(2, expiry=0.5)
    put_all(mailbox, 1, 2)
    now += 0.4
    assert mailbox.take() == {"n": 1}
    put_all(mailbox, 3)
    now += 0.2
    assert put_all(mailbox, 4) == [True]
    assert take_all(mailbox) == [3, 4]
    assert (mailbox.expired, mailbox.dropped) == (1, 0)


async def test_get_waits_for_a_message() -> None:
    """A getter is counted as waiting, and woken by the next put."""
    mailbox = Mailbox(1)
    getting = asyncio.create_task(mailbox.get())
    await asyncio.sleep(0)
    assert (mailbox.waiting, mailbox.idle) == (1, False)
    put_all(mailbox, 1)
    assert await getting == {"n": 1}
    assert mailbox.idle


async def test_getters_are_served_in_their_order() -> None:
    """Who has waited longest is woken first, and each put wakes one."""
    mailbox = Mailbox(5)
    getters = [asyncio.create_task(mailbox.get()) for _ in range(3)]
    await asyncio.sleep(0)
    put_all(mailbox, 1, 2, 3)
    assert await asyncio.gather(*getters) == [{"n": 1}, {"n": 2}, {"n": 3}]


@pytest.mark.parametrize("steps", range(4))
async def test_a_cancelled_getter_takes_nothing(steps: int) -> None:
    """Whenever it is cancelled, its message stays or was returned; it is never lost."""
    mailbox = Mailbox(5)
    getting = asyncio.create_task(mailbox.get())
    await asyncio.sleep(0)
    put_all(mailbox, 1)
    for _ in range(steps):
        await asyncio.sleep(0)
    getting.cancel()
    await asyncio.wait([getting])
    assert take_all(mailbox) == ([1] if getting.cancelled() else [])
    assert mailbox.waiting == 0


async def test_a_cancelled_getters_wake_up_is_passed_on() -> None:
    """A put woke the first getter, which is cancelled in that step: the second gets the message."""
    mailbox = Mailbox(5)
    first, second = (asyncio.create_task(mailbox.get()) for _ in range(2))
    await asyncio.sleep(0)
    put_all(mailbox, 1)
    first.cancel()
    async with asyncio.timeout(30):
        assert await second == {"n": 1}
    assert first.cancelled()


async def test_poke_wakes_without_a_message() -> None:
    """`wait` returns, `get` goes on waiting."""
    mailbox = Mailbox(1)
    getting = asyncio.create_task(mailbox.get())
    await asyncio.sleep(0)
    mailbox.poke()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not getting.done()
    assert mailbox.waiting == 1
    put_all(mailbox, 1)
    assert await getting == {"n": 1}


async def test_wait_returns_at_once_if_there_is_a_message() -> None:
    """What came between a look and the wait is not waited for."""
    mailbox = Mailbox(1)
    put_all(mailbox, 1)
    async with asyncio.timeout(30):
        await mailbox.wait()
    assert mailbox.waiting == 0


async def test_another_thread_may_put() -> None:
    """1,000 messages from another thread, in its order, none waited for in vain."""
    mailbox = Mailbox(1000)
    thread = threading.Thread(target=lambda: put_all(mailbox, *range(1000)))
    getting = asyncio.create_task(mailbox.get())
    await asyncio.sleep(0)
    thread.start()
    async with asyncio.timeout(30):
        received = [await getting] + [await mailbox.get() for _ in range(999)]
    await asyncio.to_thread(thread.join)
    assert [message["n"] for message in received] == list(range(1000))


def test_a_waiter_of_another_loop_that_ended_is_passed_over() -> None:
    """A put neither fails at it nor spends its wake-up on it."""
    mailbox = Mailbox(5)

    async def give_up() -> None:
        async with asyncio.timeout(0.01):
            await mailbox.get()

    async def get() -> Any:
        waiting = asyncio.create_task(mailbox.get())
        await asyncio.sleep(0)
        put_all(mailbox, 1)
        async with asyncio.timeout(30):
            return await waiting

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    assert asyncio.run(get()) == {"n": 1}
