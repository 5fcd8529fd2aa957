"""Runs every case with every subject, in alternation, and keeps each sample.

Invariants
- In each round every subject of a case runs once, in fresh processes, one after the other; the order
  is rotated from round to round and turned around in every second one.
- Only the quick form forks its processes; those whose time is taken are started.
- Redis is empty when a subject starts.
- A subject that fails is a result like another: its round and the error's last line are kept.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from . import forks
from .case import NO_KIND, Case, Redis, Sample, Setting
from .cpus import Cpus, pinned
from .results import AGAIN, BEFORE, CANDIDATE, Result, Row
from .store import ROOT, TEMPLATE, Counters

# The variables of all processes.
COMMON = {
    "PYTHONHASHSEED": "0",
    # The sources that are measured may be anybody's checkout: nothing is written into it.
    "PYTHONPYCACHEPREFIX": str(Path(sys.prefix) / "pycache"),
}
QUICK_TIMEOUT, TIMEOUT = 60.0, 120.0  # seconds of one run of one subject


@dataclass(frozen=True)
class Plan:
    """`candidate` and `before` are folders that hold `fast_channels/`; `peers` empty: all of them."""

    candidate: Path = TEMPLATE / "src"
    before: Path | None = None
    rounds: int = 5
    kinds: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    quick: bool = False
    loop: str = "uvloop"

    def rows(self, cases: Iterable[Case]) -> Iterator[tuple[Case, str, list[str]]]:
        """Each case and kind with the subjects that run."""
        for number, case in enumerate(cases):
            kinds = [k for k in case.kinds or (NO_KIND,) if not self.kinds or k in self.kinds]
            for place, kind in enumerate(kinds):
                subjects = self._subjects(case, kind)
                if self.quick:
                    subjects = _one_kind_each(case, kinds, subjects, place, number)
                if subjects:
                    yield case, kind, subjects

    def _subjects(self, case: Case, kind: str) -> list[str]:
        of_case = case.subjects_of(kind)
        asked = [s for s in of_case if not self.peers or s in self.peers or _is_ours(s)]
        if CANDIDATE in asked and case.compared and not self.quick:
            asked.insert(1, AGAIN)
        if CANDIDATE in asked and self.before is not None:
            asked.insert(1, BEFORE)
        return asked


def _is_ours(subject: str) -> bool:
    return subject.split("-")[0] == CANDIDATE


def _one_kind_each(
    case: Case, kinds: list[str], subjects: list[str], place: int, number: int
) -> list[str]:
    """In the quick form a subject runs once in each case, in a kind that changes from case to case."""
    chosen = []
    for turn, subject in enumerate(case.subjects):
        possible = [n for n, kind in enumerate(kinds) if subject in case.subjects_of(kind)]
        if possible and possible[(turn + number) % len(possible)] == place and subject in subjects:
            chosen.append(subject)
    return chosen


Todo = tuple[Case, str, list[str]]


def run(plan: Plan, cases: Iterable[Case], cpus: Cpus, show: Callable[[Row], None]) -> list[Row]:
    """Measure and return the rows; `show` gets each as soon as it is complete."""
    lanes = 2 if plan.quick else 1  # two at a time where no time is measured
    rows = []
    with ExitStack() as stack:
        stack.enter_context(pinned(cpus.other))
        if plan.quick:
            stack.enter_context(forks.in_use(ROOT, {**os.environ, **COMMON}))
        stores: SimpleQueue[Redis] = SimpleQueue()
        for _ in range(lanes):
            stores.put(stack.enter_context(Redis(cpus.other)))
        measure = partial(_row, plan, cpus, stores)
        mapping = stack.enter_context(ThreadPoolExecutor(lanes)).map if plan.quick else map
        for row in mapping(measure, plan.rows(cases)):
            rows.append(row)
            show(row)
    return rows


def _row(plan: Plan, cpus: Cpus, stores: "SimpleQueue[Redis]", todo: Todo) -> Row:
    case, kind, subjects = todo
    row = Row.of(case, kind)
    redis = stores.get()
    try:
        for number in range(plan.rounds):
            for label in _in_turn(subjects, number):
                row.results.append(_once(plan, cpus, redis, case, kind, label, number))
    finally:
        stores.put(redis)
    row.results.sort(key=lambda result: subjects.index(result.subject))
    return row


def _in_turn(subjects: list[str], number: int) -> list[str]:
    start = number % len(subjects)
    order = subjects[start:] + subjects[:start]
    return order[::-1] if number % 2 else order


def _once(
    plan: Plan, cpus: Cpus, redis: Redis, case: Case, kind: str, label: str, number: int
) -> Result:
    setting = Setting(
        subject=CANDIDATE if label in (AGAIN, BEFORE) else label,
        kind=kind,
        redis=redis,
        pythonpath=_environments(plan, case, label),
        quick=plan.quick,
        cpus=cpus,
        loop=plan.loop,
        timeout=QUICK_TIMEOUT if plan.quick else TIMEOUT,
    )
    redis.clear()
    before = redis.counters()
    try:
        sample = case.run(setting)
    except Exception as error:  # whatever it is, the table says so and the others are measured
        lines = str(error).strip().splitlines() or [repr(error)]
        return Result(case.name, kind, label, number, error=lines[-1])
    if sample.redis_commands is None and kind in ("pubsub", "queue"):
        sample = _with_redis(sample, redis, before)
    return Result.of(case, kind, label, number, sample)


def _with_redis(sample: Sample, redis: Redis, before: Counters) -> Sample:
    did = redis.counters() - before
    return replace(
        sample,
        redis_commands=did.commands,
        redis_bytes_in=did.bytes_in,
        redis_bytes_out=did.bytes_out,
        redis_cpu=did.cpu,
    )


def _environments(plan: Plan, case: Case, label: str) -> dict[str, dict[str, str]]:
    """Our runtime goes before the peer of the same import name; nobody hears of the user's own path."""
    ours = plan.before if label == BEFORE and plan.before else plan.candidate
    return {
        subject: {**COMMON, "PYTHONPATH": str(ours) if _is_ours(subject) else ""}
        for subject in case.subjects
    }
