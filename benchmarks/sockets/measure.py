"""One measurement: servers of a subject, a load process, and what both took."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from ..case import Sample, Setting
from ..processes import Child, ChildError
from .client.plan import Plan
from .subjects import dialect, server
from .web import Server


def measure(
    setting: Setting, *, processes: int = 1, order: Mapping[str, str] | None = None, **plan: Any
) -> Sample:
    """``plan`` holds fields of ``Plan``; the operations are those that the clients counted."""
    with ExitStack() as stack:
        servers = [stack.enter_context(server(setting, order or {})) for _ in range(processes)]
        load = stack.enter_context(start_load(setting, servers, **plan))
        hear(load, servers)
        cpu = sum(each.settled_cpu() for each in servers)
        load.tell(go=True)
        figures = hear(load, servers)
        cpu = sum(each.settled_cpu() for each in servers) - cpu
    operations, wall = int(figures.pop("operations")), figures.pop("wall")
    if not operations:
        raise ChildError("nothing that was sent arrived")
    return Sample(operations, cpu, wall, extra=figures)


def start_load(setting: Setting, servers: Sequence[Server], **plan: Any) -> Child:
    ports = tuple(each.port for each in servers)
    options = Plan(ports=ports, dialect=dialect(setting.subject), **plan).options()
    return Child(
        "benchmarks.sockets.client",
        options,
        env=os.environ,
        cores=setting.cpus.other,
        timeout=setting.timeout,
    )


def hear(load: Child, servers: Sequence[Server]) -> dict[str, float]:
    """What the load process says; if it fails because a server died, that is the error."""
    try:
        return load.hear()
    except ChildError:
        for each in servers:
            each.check()
        raise
