"""Random frames, whole and damaged, in random pieces: against the parser of ``websockets``.

What the application gets, what the client is answered and how it ends must be the same as with
``websockets.server.ServerProtocol`` fed the same bytes. ``FUZZ_FRAMES`` sets the number of frames,
``FUZZ_SEED`` where the run begins; a failure names the seed of its connection.
"""

import os
import random

import pytest

from ..support.protocol_fuzz import Oracle, Subject, conversation, pieces

FRAMES = int(os.environ.get("FUZZ_FRAMES", "12000"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
MAX_SIZE = 3000


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "deflate"])
async def test_same_as_the_parser(compressed: bool) -> None:
    """Same messages, same pongs, same close code, whatever comes in whatever pieces."""
    frames, seed = 0, SEED
    while frames < FRAMES // 2:
        source = random.Random(seed)
        data, count = conversation(source, MAX_SIZE, compressed)
        oracle = Oracle(MAX_SIZE, compressed)
        oracle.feed(data)
        subject = Subject(MAX_SIZE, compressed)
        for piece in pieces(source, data):
            subject.feed(piece)
        assert subject.outcome() == oracle.outcome(), f"seed {seed}, compressed {compressed}"
        frames += count
        seed += 1
