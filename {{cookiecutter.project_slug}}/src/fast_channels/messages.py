"""What a message may hold: one rule for every layer and serializer, none of which is known here.

A message is a dict. Its values are None, bool, int from -2**63 to 2**64 - 1, float, str of valid
Unicode, bytes, and lists and dicts of these; the keys of a dict are any of the first six. Subclasses
and relatives arrive as the plain value: a tuple as a list, an enum of str as a str, a bytearray as
bytes. ``MAX_DEPTH`` lists and dicts may be inside one another. An encoder that is registered for a
type turns its values into these. (The ASGI specification's rule, with more integers and keys.)

JSON has less: no bytes, no NaN or infinity, and str as the only keys.

Invariants
- What arrives through memory is equal to what arrives through Redis, part by part of the same type.
- Three ways lead to the same: plain values are packed as they are; relatives of them are packed and
  read back, which finds a tuple among the keys; ``plain`` knows encoders, and says what is wrong.
"""

import math
from collections.abc import Callable
from importlib import import_module
from types import NoneType
from typing import Any

from .exceptions import InvalidMessageError
from .mailbox import Message

MAX_DEPTH = 200  # msgpack goes deeper where all is plain: to 511 or 1023, by its version
INTEGERS = range(-(2**63), 2**64)
PATH_SHOWN = 8  # keys of a long path in an error: so many at its beginning, and the last one

# What is raised for values that messages do not carry, by msgpack and by other formats.
NOT_CARRIED = (TypeError, ValueError, OverflowError, BufferError, RecursionError)

# Types of values that sender and receivers may share; of these, JSON has not bytes.
IMMUTABLE = frozenset({str, int, float, bool, bytes, NoneType})

# Those that messages carry without an encoder, and their subclasses.
CARRIED = (NoneType, int, float, str, bytes, bytearray, memoryview, list, tuple, dict)

_encoders: dict[type, Callable[[Any], object]] = {}

no_msgpack: ImportError | None = None
msgpack: Any = None
try:
    msgpack = import_module("msgpack")
except ImportError as error:
    no_msgpack = error


def register_encoder(kind: type, encode: Callable[[Any], object]) -> None:
    """Let messages hold values of ``kind`` and its subclasses, in every layer of the process.

        register_encoder(datetime, datetime.isoformat)

    The receiver gets what ``encode`` returns, which may hold values with encoders again. The nearest
    of a value's classes counts. ``ValueError`` for a type that messages carry without it.
    """
    if issubclass(kind, CARRIED):
        raise ValueError(f"Messages carry {kind.__name__} without an encoder")
    _encoders[kind] = encode


def require_dict(message: Message) -> None:
    """Raise ``InvalidMessageError`` (a ``TypeError``) unless ``message`` is a dict."""
    if not isinstance(message, dict):
        raise InvalidMessageError(f"A message must be a dict, not {type(message).__name__}")


def is_flat(message: Message) -> bool:
    """Whether a shallow copy is independent: so are most messages."""
    for value in message.values():  # noqa: SIM110 -- takes 0.2 us; all() and the methods of sets take longer
        if type(value) not in IMMUTABLE:
            return False
    return True


def is_flat_in_json(message: Message) -> bool:
    """Whether JSON carries its keys and values as they are, if all str are valid Unicode and all
    float are finite.
    """
    if type(message) is not dict:
        return False
    for key, value in message.items():
        kind = type(value)
        if type(key) is not str or kind not in IMMUTABLE or kind is bytes:
            return False
        if kind is int and value not in INTEGERS:
            return False
    return True


def pack(message: Message) -> bytes:
    """The message as MessagePack; ``InvalidMessageError`` as from ``plain``."""
    try:
        return _packed(message)
    except NOT_CARRIED:
        return _packed_as_plain(message)


def unpack(packed: bytes, *, str_keys: bool = False) -> Message:
    """What was packed; with ``str_keys`` a ``ValueError`` for other keys than str and bytes."""
    unpacked: Message = msgpack.unpackb(packed, strict_map_key=str_keys)
    return unpacked


def detached(message: Message) -> Message:
    """What a receiver gets of the message, shared with nobody; ``InvalidMessageError`` as ``plain``."""
    if msgpack is None:
        return plain(message)
    try:
        packed = _packed(message)
    except NOT_CARRIED:
        return unpack(_packed_as_plain(message))
    return message.copy() if is_flat(message) else unpack(packed)


def _packed(message: Message, strict: bool = True) -> bytes:
    packed: bytes = msgpack.Packer(strict_types=strict).pack(message)
    return packed


def _packed_as_plain(message: Message) -> bytes:
    try:
        packed = _packed(message, strict=False)
        unpack(packed)  # a tuple among the keys has become a list, which cannot be one
    except NOT_CARRIED:
        packed = _packed(plain(message))
    return packed


def plain(message: Message, *, json: bool = False) -> Message:
    """A new message of plain values, as it arrives.

    ``InvalidMessageError`` (a ``TypeError``) with the way to the first value that messages cannot
    carry, such as ``message['data']['at']``; with ``json``, that JSON cannot carry.
    """
    require_dict(message)
    walk = _Walk(json)
    try:
        result: Message = walk.plain(message)
        return result
    except _Refused as refused:
        raise InvalidMessageError(f"{walk}: {refused}") from refused.__cause__
    except UnicodeEncodeError as error:
        raise InvalidMessageError(f"{walk}: str is not valid Unicode: {error.reason}") from None
    except RecursionError:
        raise InvalidMessageError("message is nested too deeply") from None


class _Refused(Exception):
    """The reason."""


class _Walk:
    """From a message to its plain values. ``path`` leads to where it is: keys, indexes, ``HIDDEN``."""

    HIDDEN = object()  # the way into a key, and to what an encoder returned

    def __init__(self, json: bool) -> None:
        self.json = json
        self.path: list[object] = []

    def __str__(self) -> str:
        steps = [f"[{step!r:.50}]" for step in self.path if step is not self.HIDDEN]
        if len(steps) > PATH_SHOWN + 1:
            steps[PATH_SHOWN:-1] = ["…"]
        return f"message{''.join(steps)}"

    def part(self, step: object, value: object) -> Any:
        if len(self.path) >= MAX_DEPTH:
            raise _Refused(f"there are more than {MAX_DEPTH} levels of lists and dicts")
        self.path.append(step)
        result = self.plain(value)
        self.path.pop()
        return result

    def plain(self, value: Any) -> Any:
        kind = type(value)
        if kind in (NoneType, bool):
            return value
        if issubclass(kind, str):
            str.encode(value)  # UnicodeEncodeError, if it cannot be sent
            return str.__str__(value)
        if issubclass(kind, int):
            if (number := int.__int__(value)) not in INTEGERS:
                raise _Refused("int is not between -2**63 and 2**64 - 1")
            return number
        if issubclass(kind, dict):
            return {self.key(key): self.part(key, part) for key, part in dict.items(value)}
        if issubclass(kind, list | tuple):
            return [self.part(index, part) for index, part in enumerate(value)]
        if not issubclass(kind, CARRIED):
            return self.part(self.HIDDEN, self.encoded(value))  # which may have an encoder again
        if issubclass(kind, float):
            if self.json and not math.isfinite(value):
                raise _Refused(f"float {value} does not exist in JSON")
            return float.__float__(value)
        if self.json:
            raise _Refused(f"{_name(value)} does not exist in JSON")
        return memoryview(value).tobytes()

    def key(self, key: object) -> Any:
        result = self.plain(key) if type(key) is str else self.part(self.HIDDEN, key)
        if isinstance(result, list | dict) or (self.json and type(result) is not str):
            where = "in JSON" if self.json else "of a dict"
            raise _Refused(f"{_name(key)} cannot be a key {where}, as in {key!r:.50}")
        return result

    def encoded(self, value: object) -> object:
        for kind in type(value).__mro__:
            if kind in _encoders:
                break
        else:
            raise _Refused(
                f"{_name(value)} is nothing that a message carries; convert it, or register an encoder"
            )
        try:
            return _encoders[kind](value)
        except Exception as error:
            raise _Refused(f"the encoder of {_name(value)} failed: {error!r:.200}") from error


def _name(value: object) -> str:
    return type(value).__qualname__
