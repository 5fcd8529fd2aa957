"""The bytes around a serialized message on its way through Redis. No I/O.

    16 bytes   uid: 8 of the sending process, 8 of its counter (big-endian)
     1 byte    length of the channel name; 0 for a group's message
     n bytes   channel name, ASCII
     rest      the serialized message

The uid lets a receiver recognize a message that the sender had to send again because the
confirmation was lost with the connection.
"""

import os
from itertools import count
from typing import NamedTuple

from ...exceptions import UndecodableMessage

UID_LENGTH = 16


class Envelope(NamedTuple):
    uid: bytes
    channel: str
    payload: bytes


def encode(uid: bytes, channel: str, payload: bytes) -> bytes:
    name = channel.encode("ascii")
    return b"%b%c%b%b" % (uid, len(name), name, payload)


def decode(data: bytes) -> Envelope:
    """``UndecodableMessage`` for bytes that are no envelope."""
    start = UID_LENGTH + 1
    if len(data) < start or len(data) < (end := start + data[UID_LENGTH]):
        raise UndecodableMessage(f"{len(data)} bytes are too few for an envelope")
    try:
        channel = data[start:end].decode("ascii")
    except UnicodeDecodeError as error:
        raise UndecodableMessage(f"The channel name of an envelope is no ASCII: {error}") from error
    return Envelope(data[:UID_LENGTH], channel, data[end:])


class Uids:
    """Makes the uids of one sender."""

    def __init__(self) -> None:
        self._sender = os.urandom(8)
        self._numbers = count()

    def make(self) -> bytes:
        return self._sender + next(self._numbers).to_bytes(8, "big")
