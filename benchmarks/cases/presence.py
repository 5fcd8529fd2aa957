"""What presence takes for each connection that comes and leaves, and what the same takes without it."""

from functools import partial

from ..case import Case, Sample, Setting
from ..measuring import one_child


def _run(setting: Setting, *, present: bool) -> Sample:
    return one_child(setting, "benchmarks.subjects.presence", present=present)


def _case(name: str, title: str, *, present: bool) -> Case:
    return Case(
        name=name,
        title=title,
        kinds=("memory", "pubsub", "queue"),
        unit="µs CPU per connection",
        subjects=("candidate",),
        run=partial(_run, present=present),
        compared=False,
    )


CASES = [
    _case("presence-off", "a connection joins a group and leaves", present=False),
    _case("presence", "the same, present and watched", present=True),
]
