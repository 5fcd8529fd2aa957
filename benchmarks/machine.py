"""Where and with what a run was made: written beside its figures."""

import os
import platform
import time
from importlib.metadata import distributions
from pathlib import Path

from .cpus import Cpus
from .runner import Plan

SHOWN = (
    "broadcaster",
    "channels",
    "channels-redis",
    "fast-channels",
    "fastapi",
    "granian",
    "hiredis",
    "hypercorn",
    "litestar",
    "python-socketio",
    "redis",
    "starlette",
    "uvicorn",
    "uvloop",
    "websockets",
)


def describe(plan: Plan, cpus: Cpus, redis_version: str) -> dict[str, object]:
    """JSON: processor, system, versions, the plan and the day."""
    installed = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in distributions()}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "pinning": str(cpus),
        "system": platform.platform(aliased=True),
        "python": platform.python_version(),
        "redis": redis_version,
        "loop": plan.loop,
        "rounds": plan.rounds,
        "quick": plan.quick,
        "packages": {name: installed[name] for name in SHOWN if name in installed},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
