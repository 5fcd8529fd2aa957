"""The rules of channel and group names. It does no I/O and knows no layer.

A name is ASCII letters, digits, ``-``, ``_`` and ``.``, shorter than 100 characters (the rule of
the Django Channels channel layer specification). A channel name may hold one ``!``: what stands
before it (the non-local name) says which process owns the channel, what stands after it says which
consumer there.
"""

import re
import uuid
from functools import lru_cache
from itertools import count
from typing import TypeGuard

from .exceptions import InvalidNameError

MAX_NAME_LENGTH = 100
PROCESS_ID_LENGTH = 16
CHANNEL_NAME = re.compile(r"[a-zA-Z0-9\-_.]+(![a-zA-Z0-9\-_.]*)?\Z")
GROUP_NAME = re.compile(r"[a-zA-Z0-9\-_.]+\Z")


def invalid(kind: str, name: object) -> InvalidNameError:
    return InvalidNameError(
        f"{kind} name must be a str of 1 to {MAX_NAME_LENGTH - 1} ASCII letters, digits, hyphens, "
        f"underscores or periods"
        f"{' with at most one ! inside' if kind == 'Channel' else ''}, not {name!r}"
    )


def has_valid_length(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and 0 < len(name) < MAX_NAME_LENGTH


def check_channel_name(name: object) -> None:
    if not isinstance(name, str) or not _is_channel_name(name):
        raise invalid("Channel", name)


def check_group_name(name: object) -> None:
    if not isinstance(name, str) or not _is_group_name(name):
        raise invalid("Group", name)


# Cached: the same few names come with every message, and the patterns take half a microsecond.
@lru_cache(maxsize=4096)
def _is_channel_name(name: str) -> bool:
    return has_valid_length(name) and CHANNEL_NAME.match(name) is not None


@lru_cache(maxsize=4096)
def _is_group_name(name: str) -> bool:
    return has_valid_length(name) and GROUP_NAME.match(name) is not None


def owner_of(channel: str) -> str | None:
    """The id of the process that owns the channel, None for a named channel."""
    head, mark, _ = channel.partition("!")
    return head[-PROCESS_ID_LENGTH:] if mark else None


class ChannelNames:
    """Makes the names of a process's own channels: ``<prefix><process id>!<number>``."""

    def __init__(self) -> None:
        self.process_id = uuid.uuid4().hex[:PROCESS_ID_LENGTH]
        self._numbers = count(1)

    def make(self, prefix: str) -> str:
        name = f"{prefix}{self.process_id}!{next(self._numbers):x}"
        check_channel_name(name)
        return name

    def owns(self, channel: str) -> bool:
        return owner_of(channel) == self.process_id
