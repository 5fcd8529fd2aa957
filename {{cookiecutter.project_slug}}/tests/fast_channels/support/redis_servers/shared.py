"""Servers that the processes of a test run share, as idle ones cost time too: the first process that asks
for some starts them, and ends them when no other uses them.
"""

import fcntl
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from .cluster import ClusterGroup
from .process import RedisProcess
from .sentinel import SentinelGroup

Servers = TypeVar("Servers", bound=RedisProcess | SentinelGroup | ClusterGroup)


@contextmanager
def shared(folder: Path, name: str, make: Callable[[], Servers]) -> Iterator[Servers]:
    """The servers of that name, for all processes that name the same folder.

    A process that uses them holds a shared lock, which ends with it; who ends them an exclusive one.
    """
    started = folder / f"{name}.servers"
    with (folder / f"{name}.users").open("a") as users, (folder / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one looks at a time
        fcntl.flock(users, fcntl.LOCK_SH)
        if started.exists():
            fcntl.flock(lock, fcntl.LOCK_UN)
            yield pickle.loads(started.read_bytes())
            return
        with make() as servers:
            started.write_bytes(pickle.dumps(servers))
            fcntl.flock(lock, fcntl.LOCK_UN)
            try:
                yield servers
            finally:
                fcntl.flock(users, fcntl.LOCK_EX)  # waits until no other has its shared one
                # pytest has given the folder up by now: a run that starts may have deleted it.
                started.unlink(missing_ok=True)
