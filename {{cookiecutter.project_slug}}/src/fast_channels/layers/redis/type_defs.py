"""How servers may be written where a layer takes ``hosts`` or ``sentinels``."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Address: TypeAlias = tuple[str, int]
Host: TypeAlias = str | Address | Mapping[str, Any]
Hosts: TypeAlias = Sequence[Host]
Sentinels: TypeAlias = Sequence[Address]
