"""From process to process: one sender; one or more receivers; what Redis is asked to do for it."""

import os
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from ..case import Case, Sample, Setting
from ..measuring import measure, options
from ..monitor import Monitor
from ..processes import Child
from ..subjects.layers import LAYERS

REDIS = ("pubsub", "queue")
MODULE = "benchmarks.subjects.relay"
NO_LIMIT = 10**9


def _relay(
    setting: Setting,
    stack: ExitStack,
    *,
    receivers: int,
    window: int,
    members: int | None,
    most: int,
) -> list[Child]:
    """A sender and its receivers, up to where they get warm. `members` None: one channel, no group."""
    reading, writing = os.pipe()
    common = {"window": window, "members": members, "receivers": receivers, "most": most}

    def start(role: str, pipe: int) -> Child:
        child = Child(
            MODULE,
            options(setting, role=role, pipe=pipe, **common),
            env=setting.environment(),
            cores=setting.cpus.subject,
            timeout=setting.timeout,
            pass_fds=[pipe],
        )
        return stack.enter_context(child)

    try:
        receiving = [start("receiver", writing) for _ in range(receivers)]
        sender = start("sender", reading)
    finally:
        os.close(reading)
        os.close(writing)
    addresses = [child.hear()["address"] for child in receiving]
    sender.hear()
    sender.tell(address=addresses[0])
    return [sender, *receiving]


def _run(
    setting: Setting, *, receivers: int = 1, window: int = 50, members: int | None = None
) -> Sample:
    window = min(window, 4) if setting.quick else window
    with ExitStack() as stack:
        children = _relay(
            setting, stack, receivers=receivers, window=window, members=members, most=NO_LIMIT
        )
        return measure(setting, children)


def _commands(setting: Setting, *, receivers: int) -> Sample:
    """MONITOR slows Redis down: the CPU of this case is no figure."""
    with ExitStack() as stack:
        children = _relay(setting, stack, receivers=receivers, window=20, members=50, most=10)
        for child in children:
            child.hear()
        monitor = stack.enter_context(Monitor(setting.redis.address))
        monitor.counted()
        monitor.bytes = 0
        sample = measure(setting, children, ready=True)
        asked, scripted = monitor.counted()
    sends = sample.operations
    extra = {"commands": asked.total() / sends, "in scripts": scripted.total() / sends}
    return replace(
        sample, extra=extra, redis_bytes_out=(sample.redis_bytes_out or 0) - monitor.bytes
    )


def _case(name: str, title: str, subjects: tuple[str, ...], **work: Any) -> Case:
    unit = "µs CPU per message, all processes"
    return Case(name, title, REDIS, unit, subjects, run=partial(_run, **work))


def _processes(number: int, what: str = "") -> str:
    return f"{number} {what}process{'es' if number > 1 else ''}"


CASES = [
    replace(
        _case("process-to-process", "process to process", (*LAYERS, "raw", "floor")),
        figures={"pubsub": 13, "queue": 50},
        lacks={"queue": ("raw",)},
    ),
    *(
        replace(
            _case(
                f"growth-processes-{number}",
                f"growth: {_processes(number, 'receiving ')} of 10 members",
                ("candidate", "fast_channels"),
                receivers=number,
                members=10,
                window=20,
            ),
            quick=number == 2,
        )
        for number in (1, 2, 4, 8)
    ),
    *(
        Case(
            f"commands-{number}",
            f"Redis commands, {_processes(number)} of 50 members",
            REDIS,
            "commands of clients per group send",
            LAYERS,
            run=partial(_commands, receivers=number),
            measure="commands",
            quick=number == 2,
        )
        for number in (1, 2, 4)
    ),
]
