"""Servers that the processes of a test run share end with the last one, whatever became of their folder."""

import contextlib
import shutil
from pathlib import Path

import pytest

from ..support.redis_servers import RedisServer, shared


@pytest.mark.parametrize("deleted", [False, True], ids=["folder-kept", "folder-deleted"])
def test_they_end_with_their_last_user(tmp_path: Path, deleted: bool) -> None:
    """Another run may delete the folder meanwhile, as pytest gives it up at the end of its session."""
    folder = tmp_path / "common"
    folder.mkdir()
    with contextlib.ExitStack() as users:
        first = users.enter_context(shared(folder, "standalone", RedisServer))
        with shared(folder, "standalone", RedisServer) as second:
            assert second.execute("INCR", "uses") == 1
        assert first.execute("INCR", "uses") == 2
        if deleted:
            shutil.rmtree(folder)
    assert not first.alive
