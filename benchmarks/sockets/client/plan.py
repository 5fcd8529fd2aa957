"""What a load process is asked to do: the JSON object in its one argument."""

import dataclasses
import json
from typing import Any, Self


@dataclasses.dataclass(frozen=True)
class Plan:
    """``program`` is room, pace, echo, churn or idle; the others are read where they matter."""

    program: str
    ports: tuple[int, ...]
    dialect: str = "plain"
    clients: int = 1
    seconds: float = 2.0
    window: int = 8  # messages under way
    senders: int = 0  # members of a room that share the window; 0: one for each message of it
    bursts: bool = False  # a window is sent at once, when the one before is over
    rate: float = 50.0  # messages per second, at a fixed pace
    before: int = 0  # idle sockets that are open before the counted ones
    rooms: int = 0  # groups that idle sockets are spread over; 0 for none

    def options(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        values = json.loads(text)
        return cls(**{**values, "ports": tuple(values["ports"])})
