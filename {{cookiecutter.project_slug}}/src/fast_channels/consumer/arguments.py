"""Which arguments a consumer class takes that has no ``__init__`` of its own. Knows no consumer.

Invariants
- What ``consumer`` itself defines (``scope``, ``groups``) is no argument, nor is a method, a property
  or a private name; so no argument changes what a consumer does by itself.
"""

import functools
import sys
from collections.abc import Iterator, Mapping
from typing import Any

if sys.version_info >= (3, 14):
    from annotationlib import Format, get_annotations
else:
    from inspect import get_annotations

PACKAGE = __name__.rpartition(".")[0]


@functools.lru_cache(maxsize=1024)
def declared(consumer_class: type) -> frozenset[str]:
    """What the class and its bases outside this package annotate or set."""
    bases = consumer_class.__mro__
    ours = [one for one in bases if one is object or one.__module__.rpartition(".")[0] == PACKAGE]
    own = {name for base in bases if base not in ours for name in _declared_by(base)}
    return frozenset(own.difference(*(_declared_by(base) for base in ours)))


def _annotations(base: type) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):  # what is imported for a type checker only has no value there
        return get_annotations(base, format=Format.FORWARDREF)
    return get_annotations(base)


def _declared_by(base: type) -> Iterator[str]:
    for name in {**_annotations(base), **vars(base)}:
        if not name.startswith("_") and not hasattr(vars(base).get(name), "__get__"):
            yield name
