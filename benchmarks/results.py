"""What a run measured: raw samples, and the medians, ranges and ratios that are made of them."""

import statistics
from collections.abc import Hashable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .case import Case, Sample

CANDIDATE = "candidate"
AGAIN = "again"  # a second copy of the candidate: how far apart the same thing measures today
BEFORE = "before"  # another state of the runtime's sources
STEADY = 1.15  # times as much the same thing may take again within a round


@dataclass(frozen=True)
class Result:
    """One run of one subject: a sample and its value, or the error's last line."""

    case: str
    kind: str
    subject: str
    round: Hashable  # results of one are compared
    value: float | None = None
    sample: dict[str, Any] | None = None
    error: str | None = None

    @classmethod
    def of(cls, case: Case, kind: str, subject: str, number: int, sample: Sample) -> "Result":
        value = case.value(sample)
        return cls(case.name, kind, subject, number, value=value, sample=asdict(sample))


@dataclass(frozen=True)
class Spread:
    """A median with the lowest and the highest of the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread | None":
        return cls(statistics.median(values), min(values), max(values)) if values else None


@dataclass
class Row:
    """A case and a kind: the results of its subjects, in the order in which they are shown."""

    case: str
    title: str
    kind: str
    unit: str
    measure: str
    compared: bool
    figure: float | None
    tuned: float | None
    results: list[Result] = field(default_factory=list)

    @classmethod
    def of(cls, case: Case, kind: str) -> "Row":
        return cls(
            case.name,
            case.title,
            kind,
            case.unit,
            case.measure,
            case.compared,
            case.figures.get(kind),
            case.tuned.get(kind),
        )

    @property
    def subjects(self) -> list[str]:
        return list(dict.fromkeys(result.subject for result in self.results))

    def values(self, subject: str) -> Spread | None:
        return Spread.of(list(self._by_round(subject).values()))

    def ratio(self, subject: str, to: str = CANDIDATE) -> Spread | None:
        """How many times as much `subject` takes as `to`, taken round by round."""
        ours, theirs = self._by_round(to), self._by_round(subject)
        both = [number for number in theirs if ours.get(number)]
        return Spread.of([theirs[number] / ours[number] for number in both])

    def extra(self, subject: str) -> dict[str, float]:
        """The median of whatever else was measured; of what Redis did, per operation."""
        found: dict[str, list[float]] = {}
        for result in self._of(subject):
            for name, value in _details(result.sample or {}):
                found.setdefault(name, []).append(value)
        return {name: statistics.median(values) for name, values in found.items()}

    def failures(self, subject: str) -> list[Result]:
        return [result for result in self._of(subject) if result.error is not None]

    def faults(self, subject: str) -> list[tuple[Result, str]]:
        """What did not arrive as it was sent: no figure makes up for it."""
        return [
            (result, f"{result.sample['extra'][what]:.0f} of its deliveries {what}")
            for result in self._of(subject)
            for what in ("lost", "disordered")
            if result.sample and result.sample["extra"].get(what)
        ]

    def steady(self) -> "Row":
        """Without the rounds in which the machine was busy, but for who was in no other."""
        once, again = self._by_round(CANDIDATE), self._by_round(AGAIN)
        busy = {
            number
            for number in again
            if number in once and not 1 / STEADY <= again[number] / once[number] <= STEADY
        }
        measured = {one.subject for one in self.results if one.round not in busy}
        kept = [one for one in self.results if one.round not in busy or one.subject not in measured]
        return replace(self, results=kept)

    def _of(self, subject: str) -> list[Result]:
        return [result for result in self.results if result.subject == subject]

    def _by_round(self, subject: str) -> dict[Hashable, float]:
        return {r.round: r.value for r in self._of(subject) if r.value is not None}


def _details(sample: dict[str, Any]) -> Iterator[tuple[str, float]]:
    yield from sample.get("extra", {}).items()
    if not sample.get("redis_commands"):
        return
    operations = sample["operations"]
    yield "redis commands", sample["redis_commands"] / operations
    yield "redis B in", sample["redis_bytes_in"] / operations
    yield "redis B out", sample["redis_bytes_out"] / operations
    yield "redis µs", sample["redis_cpu"] / operations * 1e6
