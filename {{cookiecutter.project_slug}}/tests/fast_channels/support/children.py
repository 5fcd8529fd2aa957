"""What a child process of a test needs in order to import the runtime, and the modules of these tests.

The tests are no installed package: their name is the way from the project's root to their folder, which
pytest works out (``--import-mode=importlib``), and which differs where the folder was copied to.
"""

import os
from pathlib import Path

import fast_channels

SOURCES = Path(fast_channels.__file__).parents[1]
TESTS = __name__.rpartition(".support.")[0]  # tests.fast_channels
ROOT = Path(__file__).parents[__name__.count(".")]
PYTHONPATH = os.pathsep.join((str(SOURCES), str(ROOT)))
