"""JSON as RFC 8259 has it, without NaN and Infinity, which no browser can parse.

What is sent is encoded once for all the consumers that send the same, as after a group send. Each has
a copy of its own, so that identity does not tell; to compare copies by marshal takes a fifth of the
time of encoding one.

Invariant: the cache holds at most ``ENTRIES`` texts, made of at most ``LARGEST`` bytes each.
"""

import json
import marshal
import math
from typing import Any

ENTRIES = 64
LARGEST = 16 * 1024  # bytes, as marshal has them
BY_VALUE = 2  # marshal's version that shows no shared references: equal values, equal bytes

_texts: dict[bytes, str] = {}
_encode = json.JSONEncoder(allow_nan=False).encode


def encode(content: Any) -> str:
    """As ``json.dumps(content)``; ``ValueError`` for NaN and Infinity."""
    try:
        value = marshal.dumps(content, BY_VALUE)
    except ValueError:  # not made of plain values
        return _encode(content)
    if (text := _texts.get(value)) is None:
        text = _encode(content)
        if len(value) <= LARGEST:
            if len(_texts) >= ENTRIES:
                _texts.clear()
            _texts[value] = text
    return text


def decode(text: str) -> Any:
    """As ``json.loads(text)``; ``ValueError`` also for NaN, Infinity, 1e400, and too deep a nesting."""
    try:
        return _decode(text)
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"JSON has only finite numbers, not {number:.40}")
    return value


_decode = json.JSONDecoder(parse_float=_finite, parse_constant=_finite).decode
