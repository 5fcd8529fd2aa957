"""Group sends within a process, to 1 to 1,000 members, and how cost grows with members and groups.

In the group cases each member waits in a task of its own, as a consumer does, and in the backlog
cases members are read one after the other when a window was sent. The peers pay a task and a wait for
each message that a member waits for, and little for one that is there.
"""

from functools import partial

from ..case import Case, Sample, Setting
from ..measuring import one_child
from ..subjects.rooms import ROOMS

ALL = ("memory", "pubsub", "queue")
WINDOW = 20
FIGURES: dict[int, dict[str, float]] = {
    1: {"pubsub": 5, "queue": 24, "memory": 5},
    100: {"pubsub": 3.8, "queue": 20, "memory": 25},
    1000: {"pubsub": 4.5, "queue": 32, "memory": 110},
}


def _run(
    setting: Setting,
    *,
    groups: int = 1,
    members: int = 1,
    listening: bool = True,
    positions: bool = False,
) -> Sample:
    window = min(WINDOW, 4) if setting.quick else WINDOW
    return one_child(
        setting,
        "benchmarks.subjects.groups",
        groups=groups,
        members=members,
        listening=listening,
        positions=positions,
        window=window,
    )


def _group(
    name: str, title: str, members: int, figures: dict[str, float], listening: bool = True
) -> Case:
    return Case(
        name=f"{name}-{members}",
        title=title.format(members),
        kinds=ALL,
        unit="µs CPU per group send",
        subjects=tuple(ROOMS),
        run=partial(_run, members=members, listening=listening),
        figures=figures,
        lacks={"queue": ("raw",)},
        quick=members == (1 if listening else 10),
    )


def _growth(what: str, number: int, groups: int = 1, members: int = 1) -> Case:
    return Case(
        name=f"growth-{what}-{number}",
        title=f"growth: {number:,} {what if number > 1 else what[:-1]}",
        kinds=ALL,
        unit="µs CPU per group send",
        subjects=("candidate", "fast_channels"),
        run=partial(_run, groups=groups, members=members),
        quick=number == 10,
    )


def _positions(members: int) -> Case:
    return Case(
        name=f"positions-{members}",
        title=f"group of {members:,}, joined with positions",
        kinds=("memory", "queue"),
        unit="µs CPU per group send",
        subjects=("candidate",),
        run=partial(_run, members=members, positions=True),
        compared=False,
        quick=members == 1,
    )


SIZES = (1, 10, 100, 1000)
CASES = [
    *(_group("group", "group of {:,}", members, FIGURES.get(members, {})) for members in SIZES),
    *(
        _group("backlog", "group of {:,}, read afterwards", members, {}, listening=False)
        for members in SIZES
    ),
    *map(_positions, (1, 100)),
    *(_growth("members", number, members=number) for number in SIZES),
    *(_growth("groups", number, groups=number) for number in SIZES),
]
