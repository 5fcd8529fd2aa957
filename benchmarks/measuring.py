"""Runs the children of one sample: they get ready, the counters of Redis are read, they go."""

from collections.abc import Sequence
from typing import Any

from .case import Sample, Setting
from .processes import Child


def options(setting: Setting, **work: Any) -> dict[str, Any]:
    """What every child is told, and what its work is."""
    return {
        "subject": setting.subject,
        "kind": setting.kind,
        "url": setting.redis.url,
        "loop": setting.loop,
        "seconds": 0.02 if setting.quick else 1.2,
        "quick": setting.quick,
        **work,
    }


def one_child(setting: Setting, module: str, **work: Any) -> Sample:
    """A sample of a single process."""
    with Child(
        module,
        options(setting, **work),
        env=setting.environment(),
        cores=setting.cpus.subject,
        timeout=setting.timeout,
    ) as child:
        return measure(setting, [child])


def measure(setting: Setting, children: Sequence[Child], *, ready: bool = False) -> Sample:
    """Each says `ready`, is told to go, and says its result; the first counts the operations.

    CPU is added up over the children. Redis is counted from the moment when all are ready; with
    `ready` they have said so already.
    """
    for child in () if ready else children:
        child.hear()
    before = setting.redis.counters()
    for child in reversed(children):
        child.tell(go=True)
    results = [child.hear() for child in children]
    did = setting.redis.counters() - before
    used = setting.kind in ("pubsub", "queue")
    return Sample(
        operations=results[0]["operations"],
        cpu=sum(result["cpu"] for result in results),
        wall=results[0]["wall"],
        redis_commands=did.commands if used else None,
        redis_bytes_in=did.bytes_in if used else None,
        redis_bytes_out=did.bytes_out if used else None,
        redis_cpu=did.cpu if used else None,
        extra=_added(results),
    )


def _added(results: list[dict[str, Any]]) -> dict[str, float]:
    extra: dict[str, float] = {}
    for result in results:
        for name, value in result.get("extra", {}).items():
            extra[name] = extra.get(name, 0) + value
    return extra
