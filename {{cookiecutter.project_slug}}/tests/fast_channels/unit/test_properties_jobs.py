"""Jobs of the memory layer against lists: any sequence of what workers and operators do to a channel.

Each delivery and each dead letter that there ever was may speak again; it has a say only where the lists
allow it.
"""

import asyncio
from dataclasses import dataclass

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
from fast_channels.exceptions import ChannelFull
from fast_channels.layers import DeadLetter, Delivery, Depth, InMemoryChannelLayer, in_memory

from ..support.properties import Clock, sequences

CAPACITY = 4
NEVER = float("inf")

delays = st.sampled_from([0.0, 1.0, 2.0])
places = st.integers(0, 9)


class WallClock(Clock):
    def time(self) -> float:
        return self.now


@dataclass
class Job:
    number: int
    attempt: int = 1
    due: float = NEVER  # while it is leased
    since: int = 0  # the order in which it was given back


class JobsMachine(RuleBasedStateMachine):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.runner = asyncio.Runner()
        self.layer = InMemoryChannelLayer(expiry=10**6, capacity=CAPACITY)
        self.waiting: list[int] = []  # numbers of jobs that were never leased
        self.jobs: dict[str, Job] = {}  # by id; leased, or given back
        self.dead: dict[str, tuple[int, int]] = {}  # numbers and attempts, by receipt
        self.seen: list[Delivery] = []
        self.letters: list[DeadLetter] = []
        self.sent = self.given_back = 0

    @initialize(jobs=st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3), max_size=2))
    def begin(self, jobs: list[list[int]]) -> None:
        """With dead letters, as it takes four operations to come to one: after how many attempts each job
        died, and after how many of each replay.
        """
        for lives in jobs:
            self.send()
            for number, attempts in enumerate(lives):
                if number:
                    self.replay(0)
                for attempt in range(attempts):
                    self.lease(0.0, 1)
                    self.reject(0, 0.0, final=attempt == attempts - 1)

    @rule()
    def send(self) -> None:
        self.sent += 1
        sending = self.layer.send("jobs", {"number": self.sent, "list": []})
        if len(self.waiting) < CAPACITY:
            self.runner.run(sending)
            self.waiting.append(self.sent)
        else:
            with pytest.raises(ChannelFull):
                self.runner.run(sending)

    @precondition(lambda self: self.waiting or any(job.due < NEVER for job in self.jobs.values()))
    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 3.0]), count=st.integers(1, 3))
    def lease(self, seconds: float, count: int) -> None:
        """What was given back goes first, each as it was sent, whatever handlers did to their copy."""
        self.clock.now += seconds
        if not self.waiting and not self.due():
            return
        again = self.due()[:count]
        new = [self.waiting.pop(0) for _ in self.waiting[: count - len(again)]]
        deliveries = self.runner.run(self.layer.lease("jobs", count))
        expected = [(job.number, job.attempt) for job in again] + [(one, 1) for one in new]
        assert [(one.message["number"], one.attempt) for one in deliveries] == expected
        for delivery in deliveries:
            job = self.jobs.setdefault(delivery.id, Job(delivery.message["number"]))
            assert (job.number, delivery.message["list"]) == (delivery.message["number"], [])
            job.due = NEVER
            delivery.message["list"].append("mine")
        self.seen += deliveries

    @precondition(lambda self: self.due())
    @rule()
    def receive(self) -> None:
        """A plain receiver has acknowledged what it gets."""
        job = self.due()[0]
        message = self.runner.run(self.layer.receive("jobs"))
        assert message == {"number": job.number, "list": []}
        self.forget(job)

    @precondition(lambda self: self.seen)
    @rule(place=places)
    def acknowledge(self, place: int) -> None:
        """It counts, whoever has the job now."""
        delivery = self.delivery(place)
        self.runner.run(self.layer.acknowledge(delivery))
        self.jobs.pop(delivery.id, None)

    @precondition(lambda self: self.seen)
    @rule(place=places)
    def release(self, place: int) -> None:
        delivery = self.delivery(place)
        self.runner.run(self.layer.release(delivery))
        if (job := self.leased(delivery)) is not None:
            self.give_back(job, 0)

    @precondition(lambda self: self.seen)
    @rule(place=places, delay=delays, final=st.booleans())
    def reject(self, place: int, delay: float, final: bool) -> None:
        delivery = self.delivery(place)
        self.runner.run(self.layer.reject(delivery, delay=delay, final=final, reason="it failed"))
        if (job := self.leased(delivery)) is None:
            return
        if final:
            self.letters.append(self.runner.run(self.layer.dead_letters("jobs"))[-1])
            self.dead[self.letters[-1].receipt] = job.number, job.attempt
            self.forget(job)
        else:
            job.attempt += 1
            self.give_back(job, delay)

    @precondition(lambda self: self.letters)
    @rule(place=places)
    def replay(self, place: int) -> None:
        """It is tried again as if it were new, under its id; not where the channel is full."""
        letter = self.letter(place)
        replaying = self.layer.replay("jobs", letter)
        if len(self.waiting) == CAPACITY:
            with pytest.raises(ChannelFull):
                self.runner.run(replaying)
            return
        assert self.runner.run(replaying) == (letter.receipt in self.dead)
        if letter.receipt in self.dead:
            number, _ = self.dead.pop(letter.receipt)
            job = self.jobs[letter.id] = Job(number)
            self.give_back(job, 0)
            letter.decoded()["list"].append("mine")

    @precondition(lambda self: self.letters)
    @rule(place=places)
    def discard(self, place: int) -> None:
        letter = self.letter(place)
        found = self.dead.pop(letter.receipt, None) is not None
        assert self.runner.run(self.layer.discard("jobs", letter)) == found

    @precondition(lambda self: self.sent % 10 == 9 and (self.waiting or self.jobs or self.dead))
    @rule()
    def flush(self) -> None:
        """Not often, as it empties all."""
        self.runner.run(self.layer.flush())
        self.waiting.clear()
        self.jobs.clear()
        self.dead.clear()

    @invariant()
    def holds_what_the_lists_hold(self) -> None:
        due = len(self.due())
        assert self.runner.run(self.layer.depth("jobs")) == Depth(
            waiting=len(self.waiting) + due, leased=len(self.jobs) - due, dead=len(self.dead)
        )
        letters = self.runner.run(self.layer.dead_letters("jobs"))
        assert list(self.dead.values()) == [
            (letter.message["number"], letter.attempts) for letter in letters if letter.message
        ]

    def due(self) -> list[Job]:
        due = [job for job in self.jobs.values() if job.due <= self.clock.now]
        return sorted(due, key=lambda job: (job.due, job.since))

    def leased(self, delivery: Delivery) -> Job | None:
        """The job, if this delivery is the last one of it and has not given it back."""
        job = self.jobs.get(delivery.id)
        last = job is not None and job.due == NEVER and job.attempt == delivery.attempt
        return job if last else None

    def give_back(self, job: Job, delay: float) -> None:
        self.given_back += 1
        job.due, job.since = self.clock.now + delay, self.given_back

    def forget(self, job: Job) -> None:
        self.jobs = {id: other for id, other in self.jobs.items() if other is not job}

    def delivery(self, place: int) -> Delivery:
        return self.seen[-1 - place % len(self.seen)]

    def letter(self, place: int) -> DeadLetter:
        return self.letters[-1 - place % len(self.letters)]

    def teardown(self) -> None:
        """When all is done nothing is kept."""
        for delivery in self.seen:
            self.runner.run(self.layer.acknowledge(delivery))
        while (depth := self.runner.run(self.layer.depth("jobs"))).waiting:
            self.runner.run(self.layer.receive("jobs"))
        assert depth.leased == 0
        for letter in self.runner.run(self.layer.dead_letters("jobs")):
            self.runner.run(self.layer.discard("jobs", letter))
        assert self.layer._jobs == self.layer._dead == {}
        self.runner.close()


def test_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each job is in one place: waiting, leased, or dead; no delivery makes two of it."""
    clock = WallClock()
    for module in (mailbox_module, in_memory):
        monkeypatch.setattr(module, "time", clock)
    run_state_machine_as_test(lambda: JobsMachine(clock), settings=sequences(65, 40))
