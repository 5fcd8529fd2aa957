"""What a message may hold: one rule for every layer and serializer.

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

# Types of values that sender and receivers may share.
IMMUTABLE = frozenset({str, int, float, bool, bytes, NoneType})

_encoders: dict[type, Callable[[Any], object]] = {}

missing: ImportError | None = None
msgpack: Any = None
try:
    msgpack = import_module("msgpack")
except ImportError as error:
    missing = error


def register_encoder(kind: type, encode: Callable[[Any], object]) -> None:
    """Let messages hold values of ``kind`` and its subclasses, in every layer of the process.

        register_encoder(datetime, datetime.isoformat)

    The receiver gets what ``encode`` returns, which may hold values with encoders again. The nearest
    of a value's classes counts. ``ValueError`` for a type that messages carry without it.
    """
    if issubclass(kind, tuple(_CARRIED)):
        raise ValueError(f"Messages carry {kind.__name__} without an encoder")
    _encoders[kind] = encode


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
    return message.copy() if IMMUTABLE.issuperset(map(type, message.values())) else unpack(packed)


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
    if not isinstance(message, dict):
        raise InvalidMessageError(f"A message must be a dict, not {type(message).__name__}")
    try:
        return _dict(message, 1, json)
    except _Refused as refused:
        raise InvalidMessageError(str(refused)) from refused.__cause__
    except RecursionError:
        raise InvalidMessageError("message is nested too deeply") from None


class _Refused(Exception):
    """``path`` holds the keys and indexes from the value up to the message."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.path: list[object] = []

    def __str__(self) -> str:
        steps = [f"[{step!r:.50}]" for step in reversed(self.path)]
        if len(steps) > PATH_SHOWN + 1:
            steps[PATH_SHOWN:-1] = ["…"]
        return f"message{''.join(steps)}: {self.args[0]}"


def _value(value: Any, depth: int, json: bool) -> Any:
    kinds = type(value).__mro__
    carried = next((_CARRIED[one] for one in kinds if one in _CARRIED), None)
    if carried is not None:
        return carried(value, depth, json)
    encode = next((_encoders[one] for one in kinds if one in _encoders), None)
    if encode is None:
        raise _Refused(
            f"{_name(value)} is nothing that a message carries; convert it, or register an encoder"
        )
    return _value(_encoded(value, encode, depth), depth + 1, json)


def _dict(value: dict[Any, Any], depth: int, json: bool) -> dict[Any, Any]:
    _check_depth(depth)
    result = {}
    for key, part in dict.items(value):
        plain_key = _key(key, json)
        try:
            result[plain_key] = _value(part, depth + 1, json)
        except _Refused as refused:
            refused.path.append(key)
            raise
    return result


def _list(value: list[Any] | tuple[Any, ...], depth: int, json: bool) -> list[Any]:
    _check_depth(depth)
    result = []
    for part in value:
        try:
            result.append(_value(part, depth + 1, json))
        except _Refused as refused:
            refused.path.append(len(result))
            raise
    return result


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _Refused(f"there are more than {MAX_DEPTH} levels of lists and dicts")


def _key(key: object, json: bool) -> Any:
    result = _value(key, 1, json)
    if type(result) is str:
        return result
    if json or isinstance(result, list | dict):
        where = "in JSON" if json else "of a dict"
        raise _Refused(f"{_name(key)} cannot be a key {where}, as in {key!r:.50}")
    return result


def _text(value: str, depth: int, json: bool) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise _Refused(f"str is not valid Unicode: {error.reason}") from None
    return str.__str__(value)


def _int(value: int, depth: int, json: bool) -> int:
    result = int.__int__(value)
    if result not in INTEGERS:
        raise _Refused("int is not between -2**63 and 2**64 - 1")
    return result


def _float(value: float, depth: int, json: bool) -> float:
    if json and not math.isfinite(value):
        raise _Refused(f"float {value} does not exist in JSON")
    return float.__float__(value)


def _bytes(value: bytes | bytearray | memoryview, depth: int, json: bool) -> bytes:
    if json:
        raise _Refused(f"{_name(value)} does not exist in JSON")
    return memoryview(value).tobytes()


def _as_it_is(value: bool | None, depth: int, json: bool) -> bool | None:
    return value


def _encoded(value: object, encode: Callable[[Any], object], depth: int) -> object:
    _check_depth(depth)  # it may return what has an encoder again
    try:
        return encode(value)
    except Exception as error:
        raise _Refused(f"the encoder of {_name(value)} failed: {error!r:.200}") from error


def _name(value: object) -> str:
    return type(value).__qualname__


_CARRIED: dict[type, Callable[[Any, int, bool], Any]] = {
    NoneType: _as_it_is,
    bool: _as_it_is,
    int: _int,
    float: _float,
    str: _text,
    bytes: _bytes,
    bytearray: _bytes,
    memoryview: _bytes,
    list: _list,
    tuple: _list,
    dict: _dict,
}
