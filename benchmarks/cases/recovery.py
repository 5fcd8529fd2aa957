"""What it takes to come back, one client after the other and a thousand at once; each missed 20 messages."""

from functools import partial

from ..case import Case, Sample, Setting
from ..measuring import one_child

MISSED = 20


def _run(setting: Setting, *, clients: int, per_message: bool) -> Sample:
    return one_child(
        setting,
        "benchmarks.subjects.recovery",
        clients=min(clients, 50) if setting.quick else clients,
        missed=MISSED,
        per_message=per_message,
    )


def _case(name: str, title: str, unit: str, clients: int, *, per_message: bool) -> Case:
    return Case(
        name=name,
        title=title,
        kinds=("memory", "queue"),
        unit=unit,
        subjects=("candidate",),
        run=partial(_run, clients=clients, per_message=per_message),
        compared=False,
    )


CASES = [
    _case(
        "recovery",
        f"a client comes back, {MISSED} missed",
        "µs CPU per message recovered",
        1,
        per_message=True,
    ),
    _case(
        "recovery-1000",
        f"1,000 clients come back at once, {MISSED} missed each",
        "µs CPU per client",
        1000,
        per_message=False,
    ),
]
