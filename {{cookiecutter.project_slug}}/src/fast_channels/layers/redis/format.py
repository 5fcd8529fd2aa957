"""All that another client would see in Redis: the names, and the bytes around serialized messages. No I/O.

A topic is both a key (the log, in the queue layer) and a notification channel. The braces in its name
are the hash tag of Redis Cluster: all keys of one topic share a slot.

What is published, stored in a log or enqueued is an envelope,

    16 bytes   uid of the first message: 8 of the sending process, 8 of its counter (big-endian)

and for each message, whose uids follow the first one's,

     1 byte    length of the channel name; 0 for a group's message
     4 bytes   length of the serialized message (big-endian)
     n bytes   channel name, ASCII
     n bytes   the serialized message

An encrypted message is bound to its place: the topic, the channel name and its uid.

Uids let a receiver recognize messages that the sender had to send again because the confirmation was
lost with the connection.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from ...exceptions import UndecodableMessage
from ...names import owner_of

UID_LENGTH = 16
LENGTHS = struct.Struct(">BI")

Sealed = tuple[str, bytes, int]  # a channel's name, what is for it, and the uid as a number
Messages = list[Sealed]

FIRST = b"s"  # the field of a log's first entry if it is no message: a joining has written it


@dataclass(frozen=True)
class Topics:
    prefix: str

    @classmethod
    def on(cls, prefix: str, databases: list[int]) -> "Topics":
        """For servers of these database numbers: notifications know none, so the names have to."""
        numbers = dict.fromkeys(number for number in databases if number)
        return cls(":".join([prefix, *(f"db{number}" for number in numbers)]))

    def group(self, name: str) -> str:
        return f"{self.prefix}:g:{{{name}}}"

    def group_of(self, topic: str) -> str | None:
        """The name of the group; None for the topic of anything else."""
        start = f"{self.prefix}:g:{{"
        return topic[len(start) : -1] if topic.startswith(start) else None

    def inbox(self, process_id: str) -> str:
        """Carries the messages to all channels that one process owns."""
        return f"{self.prefix}:i:{{{process_id}}}"

    def inbox_of(self, channel: str) -> str | None:
        """The inbox of the process that owns the channel; None for a named channel."""
        owner = owner_of(channel)
        return None if owner is None else self.inbox(owner)

    def channel(self, name: str) -> str:
        return f"{self.prefix}:c:{{{name}}}"

    def dead_letters(self, name: str) -> str:
        return f"{self.prefix}:d:{{{name}}}"

    def delayed(self, name: str) -> str:
        """When what waits for another attempt is due."""
        return f"{self.prefix}:w:{{{name}}}"

    def roster(self, name: str) -> str:
        """Who is present in a group; the names of all its keys begin with this one."""
        return f"{self.prefix}:p:{{{name}}}"

    @property
    def registry(self) -> str:
        """Which processes have members in rosters."""
        return f"{self.prefix}:l:{{presence}}"

    @property
    def pattern(self) -> str:
        """Matches every key of the layer, for SCAN."""
        escaped = "".join(f"\\{c}" if c in "*?[]\\^" else c for c in self.prefix)
        return f"{escaped}:[gicdwpl]:{{*"


def encode(uid: bytes, messages: Iterable[bytes]) -> bytes:
    return uid + b"".join(messages)


def encode_message(channel: str, payload: bytes) -> bytes:
    return LENGTHS.pack(len(channel), len(payload)) + channel.encode("ascii") + payload


def decode(data: bytes, index: int = 0) -> Messages:
    """At least one; ``UndecodableMessage`` for bytes that are no envelope.

    ``index`` is added to the uids: a log has each message of an envelope in an entry of its own.
    """
    end = len(data)
    messages: Messages = []
    start = UID_LENGTH
    number = number_of(data[:UID_LENGTH]) + index
    try:
        while start != end or not messages:
            name_length, length = LENGTHS.unpack_from(data, start)
            name_start = start + LENGTHS.size
            payload_start = name_start + name_length
            start = payload_start + length
            if start > end:
                raise struct.error
            name = data[name_start:payload_start].decode("ascii")
            messages.append((name, data[payload_start:start], number))
            number += 1
    except struct.error:
        raise UndecodableMessage(f"{end} bytes are too few for an envelope") from None
    except UnicodeDecodeError as error:
        raise UndecodableMessage(f"The channel name of an envelope is no ASCII: {error}") from error
    return messages


def decode_one(data: bytes, index: int = 0) -> Sealed:
    """``UndecodableMessage`` also for several in one envelope."""
    messages = decode(data, index)
    if len(messages) != 1:
        raise UndecodableMessage(f"{len(messages)} messages in place of one")
    return messages[0]


def place_of(topic: str, sealed: Sealed) -> bytes:
    """What an encrypted message is bound to."""
    channel, _, number = sealed
    return f"{topic}\0{channel}\0{number:x}".encode()


def number_of(uid: bytes) -> int:
    """A uid as a number."""
    return int.from_bytes(uid, "big")
