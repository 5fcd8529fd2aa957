"""A mailbox against a list: any sequence of putting, taking, waiting, cancelling and expiring.

The list says what a mailbox may hand out next; a getter asks it in the very step in which it takes.
"""

import asyncio
from typing import Any, get_args

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fast_channels import mailbox as mailbox_module
from fast_channels.layers import groups as groups_module
from fast_channels.mailbox import Mailbox, Overflow

from ..support.properties import Clock, sequences

delays = st.sampled_from([0.0, 1.0, 4.0, 6.0])  # seconds since the last operation


class MailboxMachine(RuleBasedStateMachine):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.runner = asyncio.Runner()
        self.getters: list[asyncio.Task[None]] = []
        self.waiting: list[tuple[float, int]] = []  # when it was put, and its number
        self.sent = self.taken = self.lost = self.expired = 0

    @initialize(
        capacity=st.integers(1, 4),
        expiry=st.sampled_from([None, 5.0]),
        overflow=st.sampled_from(get_args(Overflow)),
    )
    def make(self, capacity: int, expiry: float | None, overflow: Overflow) -> None:
        self.mailbox = Mailbox(capacity, expiry=expiry, overflow=overflow)

    @rule(overflow=st.sampled_from(get_args(Overflow)))
    def set_overflow(self, overflow: Overflow) -> None:
        self.mailbox.set_overflow(overflow)

    @rule(delay=delays, count=st.integers(1, 3))
    def put(self, delay: float, count: int) -> None:
        """In a running loop, as a layer does it; the getters run afterwards at the earliest."""
        self.clock.now += delay

        async def put_all() -> None:
            for _ in range(count):
                self.put_one()

        self.runner.run(put_all())

    def put_one(self) -> None:
        self.expire()
        fits = len(self.waiting) < self.mailbox.capacity
        if not fits:
            self.lost += 1
        if not fits and self.mailbox.overflow == "drop_oldest":
            self.waiting.pop(0)
        if fits or self.mailbox.overflow == "drop_oldest":
            self.waiting.append((self.clock.now, self.sent))
        assert self.mailbox.put({"number": self.sent}) == fits
        assert self.mailbox.overflowed or fits or self.mailbox.overflow != "close"
        self.sent += 1

    @rule(delay=delays)
    def take(self, delay: float) -> None:
        self.clock.now += delay
        message = self.mailbox.take()
        self.expire()
        if message is None:
            assert self.waiting == []
        else:
            self.took(message)

    @precondition(lambda self: len(self.getters) < 4)
    @rule(delay=delays)
    def get(self, delay: float) -> None:
        self.clock.now += delay

        async def start() -> None:
            self.getters.append(asyncio.create_task(self.get_one()))
            await asyncio.sleep(0)  # now it waits, or has taken a message

        self.runner.run(start())

    async def get_one(self) -> None:
        message = await self.mailbox.get()
        self.expire()
        self.took(message)

    @precondition(lambda self: self.getters)
    @rule(which=st.integers(0, 3), puts=st.integers(0, 2), steps=st.integers(0, 2))
    def cancel(self, which: int, puts: int, steps: int) -> None:
        """One getter, some steps after messages came that may have been for it."""

        async def cancel() -> None:
            for _ in range(puts):
                self.put_one()
            for _ in range(steps):
                await asyncio.sleep(0)
            self.getters[which % len(self.getters)].cancel()

        self.runner.run(cancel())
        self.settle()

    @rule()
    def poke(self) -> None:
        self.runner.run(asyncio.sleep(0, self.mailbox.poke()))

    @rule()
    def settle(self) -> None:
        """When all has run that can run, nobody waits beside a message: no wake-up gets lost."""

        async def run_all() -> None:
            for _ in range(4 * len(self.getters) + 4):
                await asyncio.sleep(0)

        self.runner.run(run_all())
        self.expire()
        for getter in self.getters:
            if getter.done() and not getter.cancelled():
                getter.result()
        self.getters = [getter for getter in self.getters if not getter.done()]
        assert self.mailbox.waiting == len(self.getters)
        assert not (self.getters and self.waiting)

    @invariant()
    def within_bounds(self) -> None:
        assert len(self.mailbox) <= self.mailbox.capacity

    def expire(self) -> None:
        expiry = self.mailbox.expiry
        while expiry is not None and self.waiting and self.waiting[0][0] < self.clock.now - expiry:
            self.waiting.pop(0)
            self.expired += 1

    def took(self, message: dict[str, Any]) -> None:
        self.taken += 1
        _, number = self.waiting.pop(0)
        assert message == {"number": number}

    def teardown(self) -> None:
        try:
            self.settle()
            while self.waiting:
                self.take(0.0)
            assert self.mailbox.take() is None
            assert (self.mailbox.dropped, self.mailbox.expired) == (self.lost, self.expired)
            assert self.sent == self.taken + self.lost + self.expired
        finally:
            self.runner.close()  # cancels the getters that are left


def test_mailbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message is handed out once and in order, or counted as dropped or expired."""
    clock = Clock()
    monkeypatch.setattr(mailbox_module, "time", clock)
    monkeypatch.setattr(groups_module, "time", clock)
    run_state_machine_as_test(lambda: MailboxMachine(clock), settings=sequences(90, 40))
