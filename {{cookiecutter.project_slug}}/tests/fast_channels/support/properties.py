"""What the property tests share: settings, characters, and a clock that stands until it is told to move."""

import os
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

# Hypothesis would note the constants of all sources in a folder, by default in the working directory;
# where it cannot write it does without.
set_hypothesis_home_dir(Path(os.devnull) / "hypothesis")

# Those of which `st.text()` makes its texts by default, which are as many as UTF-8 can encode: to try that
# with each of a million takes 3 s of CPU, in each process, as nothing is kept in that folder.
CHARACTERS = st.characters(exclude_categories=["Cs"])


def sequences(count: int, steps: int, *, shrink: bool = True) -> settings:
    """`count` random sequences of up to `steps` operations, the same ones in each run.

    A sequence that fails is cut down to a short one, unless each attempt at that takes seconds.
    """
    return settings(
        max_examples=count,
        stateful_step_count=steps,
        derandomize=True,
        database=None,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        deadline=None,  # of one sequence; a busy machine is no failure, and pytest has a timeout
        suppress_health_check=[HealthCheck.too_slow],
    )


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def monotonic(self) -> float:
        return self.now
