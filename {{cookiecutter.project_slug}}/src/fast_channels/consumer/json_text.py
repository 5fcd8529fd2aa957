"""JSON of what is sent: encoded once for all the consumers that send the same, as after a group send.

Each of them has a copy of its own, so that identity does not tell; to compare copies by marshal takes
a fifth of the time of encoding one.

Invariant: the cache holds at most ``ENTRIES`` texts, made of at most ``LARGEST`` bytes each.
"""

import json
import marshal
from typing import Any

ENTRIES = 64
LARGEST = 16 * 1024  # bytes, as marshal has them
BY_VALUE = 2  # marshal's version that shows no shared references: equal values, equal bytes

_texts: dict[bytes, str] = {}


def encode(content: Any) -> str:
    """``json.dumps(content)``."""
    try:
        value = marshal.dumps(content, BY_VALUE)
    except ValueError:  # not made of plain values
        return json.dumps(content)
    if (text := _texts.get(value)) is None:
        text = json.dumps(content)
        if len(value) <= LARGEST:
            if len(_texts) >= ENTRIES:
                _texts.clear()
            _texts[value] = text
    return text
