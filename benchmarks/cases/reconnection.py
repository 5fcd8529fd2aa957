"""One broken connection of a process that listens to many groups: until they are back, and who waits."""

from functools import partial

from ..case import Case, Sample, Setting
from ..measuring import one_child


def _run(setting: Setting, *, groups: int, active: bool) -> Sample:
    groups = min(groups, 200) if setting.quick else groups
    module = "benchmarks.subjects.reconnection"
    return one_child(setting, module, groups=groups, active=active)


def _case(name: str, groups: int, *, active: bool) -> Case:
    state = "one recent message each" if active else "idle"
    return Case(
        name=name,
        title=f"reconnection: {groups:,} groups, {state}",
        kinds=("queue",),
        unit="s until all are back",
        subjects=("candidate",),
        run=partial(_run, groups=groups, active=active),
        measure="seconds",
        compared=False,
        default=active,  # to join 100,000 groups takes much longer than to recover them
    )


CASES = [
    _case("reconnection", 12_000, active=True),
    _case("reconnection-idle", 100_000, active=False),
]
