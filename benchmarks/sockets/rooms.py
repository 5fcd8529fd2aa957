"""Cases of one room: how much CPU, and how much time, a message takes to each of its members."""

from functools import partial

from ..case import Case, Sample, Setting
from .measure import measure
from .subjects import LACKS, LAYERED, OURS, SUBJECTS

KINDS = ("memory", "pubsub", "queue")
KEY = "a key of this benchmark"


def saturate(setting: Setting, clients: int, processes: int = 1, **order: str) -> Sample:
    """8 members talk at a time, each again when its turn comes: the server is never idle."""
    return measure(
        setting,
        processes=processes,
        order=order,
        program="room",
        clients=clients,
        window=8,
        seconds=0.05 if setting.quick else 2.0,
    )


def talk(setting: Setting, clients: int) -> Sample:
    """4 members talk, each with 64 frames ahead: more than a mailbox holds, were they all read at once."""
    return measure(
        setting,
        program="room",
        clients=clients,
        window=256,
        senders=4,
        seconds=0.05 if setting.quick else 2.0,
    )


def pace(setting: Setting) -> Sample:
    """50 messages per second to 100 clients: a load of 5,000 deliveries per second."""
    return measure(
        setting, program="pace", clients=100, rate=50.0, seconds=0.4 if setting.quick else 4.0
    )


def room(clients: int) -> Case:
    return Case(
        name=f"room-{clients}",
        title=f"sockets, {clients} in a room",
        kinds=KINDS,
        unit="µs CPU per delivery",
        subjects=SUBJECTS,
        lacks=LACKS,
        run=partial(saturate, clients=clients),
        figures={"pubsub": 3.2, "queue": 6, "memory": 5.5} if clients == 100 else {},
        tuned={"pubsub": 9, "queue": 15, "memory": 15} if clients == 100 else {},
        quick=clients == 100,
    )


def talkers(clients: int) -> Case:
    return Case(
        name=f"talkers-{clients}",
        title=f"sockets, 4 of {clients} talk without a pause",
        kinds=KINDS,
        unit="µs CPU per delivery",
        subjects=OURS,
        run=partial(talk, clients=clients),
        quick=clients == 100,
    )


def spread(processes: int) -> Case:
    return Case(
        name=f"processes-{processes}",
        title=f"sockets, 100 in a room on {processes} web process{'es' * (processes > 1)}",
        kinds=("pubsub", "queue"),
        unit="µs CPU per delivery",
        subjects=SUBJECTS,
        lacks=LACKS,
        run=partial(saturate, clients=100, processes=processes),
        quick=processes == 2,
    )


CASES = [
    *map(room, (10, 100, 500)),
    *map(talkers, (100, 500)),
    Case(
        name="room-100-json",
        title="sockets, 100 in a room, JSON consumer",
        kinds=KINDS,
        unit="µs CPU per delivery",
        subjects=LAYERED,
        run=partial(saturate, clients=100, BENCH_JSON="1"),
    ),
    Case(
        name="room-100-encrypted",
        title="sockets, 100 in a room, encrypted",
        kinds=("pubsub",),
        unit="µs CPU per delivery",
        subjects=LAYERED,
        run=partial(saturate, clients=100, BENCH_KEYS=KEY),
    ),
    Case(
        name="p99-100",
        title="p99 in a room of 100, 50 a second",
        kinds=KINDS,
        unit="ms",
        subjects=SUBJECTS,
        lacks=LACKS,
        run=pace,
        measure="p99",
    ),
    *map(spread, (1, 2, 4)),
]
