"""The same answers give the same bytes, whenever and wherever they are rendered."""

from pathlib import Path

import pytest

from conftest import Render
from rendering import files, render_in

ANSWERS = [
    {},
    {"redis_topology": "sentinel", "ci": "gitlab"},
    {"redis_topology": "cluster", "channel_layer": "queue"},
]


def contents(project: Path) -> dict[str, tuple[bytes, int]]:
    """Relative name -> bytes and permission bits."""
    return {
        path.relative_to(project).as_posix(): (path.read_bytes(), path.stat().st_mode)
        for path in files(project)
    }


@pytest.mark.parametrize("answers", ANSWERS)
def test_two_renders_are_identical(render: Render, tmp_path: Path, answers: dict[str, str]) -> None:
    """Neither the folder, the time zone, the locale nor the hash seed shows in the result."""
    first = contents(render(**answers))
    elsewhere = {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    second = contents(render_in(elsewhere, tmp_path / "a longer path", answers)[0])
    assert second.keys() == first.keys()
    assert [name for name in first if first[name] != second[name]] == []
