"""Cases of connections by themselves: echo, coming and going, and what an idle one takes."""

from functools import partial

from ..case import Case, Sample, Setting
from .measure import hear, measure, start_load
from .subjects import LACKS, SUBJECTS, server

KINDS = ("memory", "pubsub", "queue")
GROUPS = 20  # that idle connections are spread over


def echo(setting: Setting, clients: int, window: int, bursts: bool) -> Sample:
    """Each socket has a window of messages under way."""
    return measure(
        setting,
        program="echo",
        clients=clients,
        window=window,
        bursts=bursts,
        seconds=0.05 if setting.quick else 2.0,
    )


def churn(setting: Setting) -> Sample:
    """20 connections at a time; the CPU includes what the server does after the last has gone."""
    return measure(setting, program="churn", seconds=0.05 if setting.quick else 2.0)


def idle(setting: Setting, groups: int) -> Sample:
    """What a server's own memory grows by, per connection, when many are open already.

    The first 2,000 or so find memory that the server used to start and has freed: they seem a third
    cheaper than all that come after.
    """
    before, clients = (200, 200) if setting.quick else (2500, 2000)
    plan = {"program": "idle", "before": before, "clients": clients, "rooms": groups}
    with server(setting, {}) as web, start_load(setting, [web], **plan) as load:
        hear(load, [web])
        cpu, memory = web.settled_cpu(), web.memory()
        load.tell(go=True)
        figures = hear(load, [web])
        cpu, memory = web.settled_cpu() - cpu, web.memory() - memory
    return Sample(clients, cpu, figures["wall"], extra={"KiB": memory / clients / 1024})


def echo_case(name: str, title: str, clients: int, window: int, bursts: bool = False) -> Case:
    return Case(
        name=f"echo-{name}",
        title=f"echo, {title}",
        kinds=(),
        unit="µs CPU per echo",
        subjects=SUBJECTS,
        run=partial(echo, clients=clients, window=window, bursts=bursts),
        figures={"-": 2},
        tuned={"-": 3.5},
        quick=name == "50",
    )


CASES = [
    echo_case("1", "1 socket", 1, 4),
    echo_case("50", "50 sockets", 50, 4),
    echo_case("bursts", "50 sockets, bursts of 16", 50, 16, bursts=True),
    Case(
        name="churn",
        title="connect, join, leave",
        kinds=KINDS,
        unit="µs CPU per connection",
        subjects=SUBJECTS,
        lacks=LACKS,
        run=churn,
        figures={"pubsub": 2, "queue": 2.5},
        tuned={"pubsub": 3.5, "queue": 4},
    ),
    Case(
        name="idle-memory",
        title="memory per idle connection in a group",
        kinds=KINDS,
        unit="KiB per connection",
        subjects=SUBJECTS,
        lacks=LACKS,
        run=partial(idle, groups=GROUPS),
        measure="KiB",
    ),
    Case(
        name="idle-memory-alone",
        title="memory per idle connection without a layer",
        kinds=(),
        unit="KiB per connection",
        subjects=SUBJECTS,
        run=partial(idle, groups=0),
        measure="KiB",
        quick=False,
    ),
]
