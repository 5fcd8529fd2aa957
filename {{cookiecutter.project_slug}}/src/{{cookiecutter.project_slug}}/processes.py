"""How many web processes there are, as far as one of them can tell."""

import os
import sys
from collections.abc import Mapping, Sequence

OPTIONS = ("--workers", "-w")


def web_processes(
    arguments: Sequence[str] = sys.argv, environment: Mapping[str, str] = os.environ
) -> int:
    """By ``--workers`` of uvicorn, fastapi or gunicorn, else by ``WEB_CONCURRENCY``, which they read too.

    A process that they start has their arguments. Several servers or containers cannot be seen.
    """
    number = environment.get("WEB_CONCURRENCY", "")
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        option, _, value = argument.partition("=")
        if option in OPTIONS:
            number = value or following
    return int(number) if number.isdecimal() else 1
