"""What a page tells its reader to change, read from the page and made in a rendered project.

A change is a code block that ``docs/inline.py`` has filled: a diff, or a new file of Python, whose path is
the last that the text before it names, as in ``src/my_chat/notes.py``.
"""

import re
import subprocess
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rendering import ROOT

SECTION = re.compile(r"^(.+)\n-{4,}\n", re.MULTILINE)
BLOCK = re.compile(
    r"^\.\. code-block:: (diff|python)\n\n(.*?)\n\.\. until here$", re.MULTILINE | re.DOTALL
)
PATH = re.compile(r"``([\w/]+/\w+\.py)``")


@dataclass
class Changes:
    """Those of one section, or of several that are read one after another."""

    title: str
    diffs: list[str] = field(default_factory=list)
    new: dict[str, str] = field(default_factory=dict)  # path -> text

    @property
    def edited(self) -> set[str]:
        return {
            path
            for diff in self.diffs
            for path in re.findall(r"^\+\+\+ b/(.+)$", diff, re.MULTILINE)
        }

    def make(self, project: Path, *options: str) -> None:
        """With `--check` as an option the diffs are only looked at."""
        for diff in self.diffs:
            applied = subprocess.run(
                ["git", "apply", *options], cwd=project, input=diff, text=True, capture_output=True
            )
            assert applied.returncode == 0, f"{self.title}: {applied.stderr}"
        if "--check" not in options:
            for path, text in self.new.items():
                (project / path).write_text(text, encoding="utf-8")


def changes_of(page: str) -> list[Changes]:
    """Of the sections of ``docs/<page>.rst`` that have any, in their order."""
    text = (ROOT / "docs" / f"{page}.rst").read_text(encoding="utf-8")
    _, *parts = SECTION.split(text)
    found = (changes_in(title, body) for title, body in zip(parts[::2], parts[1::2], strict=True))
    return [one for one in found if one.diffs or one.new]


def changes_in(title: str, section: str) -> Changes:
    changes, end = Changes(title), 0
    for block in BLOCK.finditer(section):
        text = textwrap.dedent(block[2]).rstrip("\n") + "\n"
        if block[1] == "diff":
            changes.diffs.append(text)
        else:
            changes.new[PATH.findall(section[end : block.start()])[-1]] = text
        end = block.end()
    return changes


def make_all(changes: Iterable[Changes], project: Path) -> None:
    for one in changes:
        one.make(project)
