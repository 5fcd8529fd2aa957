"""A named channel to its worker, and a member of a group that does not read."""

from functools import partial

from ..case import Case, Sample, Setting
from ..measuring import one_child
from ..subjects.layers import LAYERS
from ..subjects.rooms import ROOMS


def _worker(setting: Setting, *, waits: bool = False) -> Sample:
    return one_child(setting, "benchmarks.subjects.work_queue", window=50, waits=waits)


def _stalled(setting: Setting, *, messages: int) -> Sample:
    return one_child(setting, "benchmarks.subjects.stalled", window=20, messages=messages)


CASES = [
    Case(
        name="worker",
        title="named channel to a consumer in a worker, acknowledged (peers: not acknowledged)",
        kinds=("memory", "queue"),
        unit="µs CPU per job",
        subjects=LAYERS,
        run=_worker,
        figures={"queue": 28, "memory": 5},
    ),
    Case(
        name="worker-waiting",
        title="the same, where each job waits for one turn of the loop",
        kinds=("memory", "queue"),
        unit="µs CPU per job",
        subjects=LAYERS,
        run=partial(_worker, waits=True),
        quick=False,
    ),
    Case(
        name="stalled",
        title="one of 10 members stops reading, 1,000 messages",
        kinds=("memory", "pubsub", "queue"),
        unit="messages that each of the others got",
        subjects=tuple(ROOMS),
        run=partial(_stalled, messages=1000),
        measure="others",
        compared=False,
        lacks={"queue": ("raw",)},
    ),
]
