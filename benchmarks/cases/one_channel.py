"""One channel, one process: a message at a time, and many under way."""

from functools import partial

from ..case import Case, Sample, Setting
from ..measuring import one_child
from ..subjects.layers import LAYERS

ALL = ("memory", "pubsub", "queue")
UNIT = "µs CPU per message"


def _run(setting: Setting, *, window: int, arguments: dict[str, object] | None = None) -> Sample:
    module = "benchmarks.subjects.one_channel"
    return one_child(setting, module, window=window, arguments=arguments or {})


CASES = [
    Case(
        name="one-sequence",
        title="one channel, one at a time",
        kinds=ALL,
        unit=UNIT,
        subjects=LAYERS,
        run=partial(_run, window=1),
    ),
    Case(
        name="one-many",
        title="one channel, 50 under way",
        kinds=ALL,
        unit=UNIT,
        subjects=LAYERS,
        run=partial(_run, window=50),
        figures={"pubsub": 6, "queue": 22, "memory": 3},
    ),
    Case(
        name="encryption",
        title="one channel, 50 under way, encrypted",
        kinds=("pubsub", "queue"),
        unit=UNIT,
        subjects=LAYERS,
        run=partial(_run, window=50, arguments={"symmetric_encryption_keys": ["a key for tests"]}),
    ),
]
