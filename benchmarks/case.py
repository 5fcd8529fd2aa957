"""What a case is: the interface between the runner and the modules that hold a list CASES.

Vocabulary
- case: a piece of work, such as a group send to 100 members
- kind: how messages travel: `memory`, `pubsub` or `queue`
- subject: who does the work. `candidate` is this tree's runtime, the others are its peers from the
  package index and yardsticks of ours, `raw`, `floor` and `wire`
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .cpus import Cpus
from .store import Redis

__all__ = ["NO_KIND", "Case", "Cpus", "Redis", "Sample", "Setting"]

NO_KIND = "-"  # the kind of a case without a layer


@dataclass(frozen=True)
class Setting:
    """What a case is to measure this time, and with what.

    `subject` and `kind` choose who and how. `pythonpath` maps a subject to the variables that its
    processes need. `quick` asks for tiny work. `loop` is `uvloop` or `asyncio`. `timeout` is in
    seconds, of the whole run of one subject.
    """

    subject: str
    kind: str
    redis: Redis
    pythonpath: Mapping[str, Mapping[str, str]]
    quick: bool
    cpus: Cpus
    loop: str = "uvloop"
    timeout: float = 60.0

    def environment(self) -> dict[str, str]:
        """The variables of the subject's processes."""
        return {**os.environ, **self.pythonpath.get(self.subject, {})}


@dataclass(frozen=True)
class Sample:
    """What one run of one subject took.

    `cpu` is that of the subject's processes, in seconds, and `wall` the time that passed. What Redis
    did is filled in by the runner, for the whole run, where a case leaves it None; `redis_cpu` is in
    seconds. `extra` holds whatever else a case measures: `p99`, `dropped`, `lost` …
    """

    operations: int
    cpu: float
    wall: float
    redis_commands: int | None = None
    redis_bytes_in: int | None = None
    redis_bytes_out: int | None = None
    redis_cpu: float | None = None
    extra: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """`run` is called in the runner's process and starts the subject's processes itself.

    - `kinds` is empty for a case without a layer
    - `lacks` maps a kind to the subjects that do not have it
    - `measure` is what the table compares: `cpu`, that is µs of CPU per operation, or a key of `extra`
    - `figures` maps a kind to how many times less than fast-channels 1.1.0 the candidate should need,
      `tuned` the same for the subject `candidate-tuned`. They are shown; nothing passes or fails on them
    - `compared` says that a ratio of two subjects means something
    - `default` is false for a case that runs only when it is named
    - `quick` is false for another size of a case that the quick form runs anyway
    """

    name: str
    title: str
    kinds: tuple[str, ...]
    unit: str
    subjects: tuple[str, ...]
    run: Callable[[Setting], Sample]
    figures: Mapping[str, float] = field(default_factory=dict)
    tuned: Mapping[str, float] = field(default_factory=dict)
    lacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    measure: str = "cpu"
    compared: bool = True
    default: bool = True
    quick: bool = True

    def value(self, sample: Sample) -> float:
        if self.measure == "cpu":
            return sample.cpu / sample.operations * 1e6
        return sample.extra[self.measure]

    def subjects_of(self, kind: str) -> tuple[str, ...]:
        missing = self.lacks.get(kind, ())
        return tuple(subject for subject in self.subjects if subject not in missing)
