"""Which core does what: the subject has one to itself; Redis, the clients and the runner share the other."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

Cores = frozenset[int]


@dataclass(frozen=True)
class Cpus:
    """`subject` and `other` are sets of core numbers; empty: not pinned."""

    subject: Cores = frozenset()
    other: Cores = frozenset()

    def __str__(self) -> str:
        if not self.subject:
            return "not pinned to cores"
        return f"subject on core {min(self.subject)}, Redis and clients on core {min(self.other)}"


def choose() -> Cpus:
    """The first two cores that we may use; unpinned where there is one, and on macOS."""
    if not hasattr(os, "sched_setaffinity"):
        return Cpus()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return Cpus()
    return Cpus(subject=frozenset(cores[1:2]), other=frozenset(cores[:1]))


@contextmanager
def pinned(cores: Cores) -> Iterator[None]:
    """What this thread starts meanwhile runs on these cores, from its first instruction."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
