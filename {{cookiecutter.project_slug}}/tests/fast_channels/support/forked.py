"""What a process does first that is to be a program: nothing is left of it but what it has imported.

It imports the standard library alone, as it runs where the tests are no package.
"""

import os
import runpy
import socket
import sys
from pathlib import Path


def become(
    arguments: tuple[str, ...],
    cwd: Path,
    env: dict[str, str],
    output: Path,
    errors: Path,
    listening: socket.socket | None,
) -> None:
    """See `Program`."""
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for descriptor, path in ((1, output), (2, errors)):
        opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)
    inherited = () if listening is None else (str(listening.detach()),)
    sys.argv = [*arguments, *inherited]
    sys.path[:0] = [str(cwd), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if "program" in globals():  # by runpy
    become(*globals()["program"])
