"""Typed frames beside plain JSON: a frame in and its answer, and a frame to all members of a group.

Whole consumers on a layer in memory, without a server.
"""

from functools import partial

from ..case import Case, Sample, Setting
from ..measuring import one_child


def _run(setting: Setting, *, typed: bool, members: int) -> Sample:
    return one_child(setting, "benchmarks.subjects.frames", typed=typed, members=members)


def _case(name: str, title: str, unit: str, *, typed: bool, members: int = 0) -> Case:
    return Case(
        name=name,
        title=title,
        kinds=("memory",),
        unit=unit,
        subjects=("candidate",),
        run=partial(_run, typed=typed, members=members),
        compared=False,
    )


ANSWER = ("a frame in and its answer", "µs CPU per frame")
TOLD = ("a frame to 100 members", "µs CPU per frame")
CASES = [
    _case("frames-plain", f"{ANSWER[0]}, plain JSON", ANSWER[1], typed=False),
    _case("frames", f"{ANSWER[0]}, typed", ANSWER[1], typed=True),
    _case("frames-100-plain", f"{TOLD[0]}, plain JSON", TOLD[1], typed=False, members=100),
    _case("frames-100", f"{TOLD[0]}, typed", TOLD[1], typed=True, members=100),
]
