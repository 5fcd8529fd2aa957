"""The candidate on several servers and event loops, to choose one; run only by name."""

from functools import partial

from ..case import Case
from .connections import echo
from .rooms import saturate

SUBJECTS = (
    "candidate",
    "candidate-tuned",
    "candidate-asyncio",
    "candidate-granian",
    "candidate-hypercorn-asyncio",
    "candidate-hypercorn-uvloop",
)

CASES = [
    Case(
        name="servers-echo",
        title="servers: echo, 50 sockets",
        kinds=(),
        unit="µs CPU per echo",
        subjects=SUBJECTS,
        run=partial(echo, clients=50, window=4, bursts=False),
        default=False,
    ),
    Case(
        name="servers-room",
        title="servers: 100 in a room",
        kinds=("memory", "pubsub"),
        unit="µs CPU per delivery",
        subjects=SUBJECTS,
        run=partial(saturate, clients=100),
        default=False,
    ),
]
