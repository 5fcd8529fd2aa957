"""Copies examples and tables into the pages, for readers who see the pages without building them.

A page names a file and, for a part of it, the comments between which that part stands::

    .. from: examples/test_jobs.py, after "# consumer", before "# run"

    (what is written here is replaced)

    .. until here

``python docs/inline.py`` rewrites every page; with ``--check`` it only names those that differ.
"""

import re
import sys
import textwrap
from pathlib import Path

DOCS = Path(__file__).resolve().parent

BLOCK = re.compile(
    r'^(\.\. from: (\S+?)(?:, after "(.+?)")?(?:, before "(.+?)")?)\n.*?^\.\. until here\n',
    re.MULTILINE | re.DOTALL,
)
LANGUAGES = {".py": "python", ".diff": "diff"}


def part(text: str, after: str | None, before: str | None) -> str:
    """The lines after the first that holds ``after``, up to the next that holds ``before``."""
    lines = text.split("\n")
    start = next(i + 1 for i, line in enumerate(lines) if after in line) if after else 0
    ends = (i for i, line in enumerate(lines) if i >= start and before and before in line)
    return textwrap.dedent("\n".join(lines[start : next(ends, len(lines))])).strip("\n")


def block(match: re.Match[str]) -> str:
    head, name, after, before = match.groups()
    path = DOCS / name
    text = part(path.read_text(encoding="utf-8"), after, before)
    if path.suffix in LANGUAGES:
        code = textwrap.indent(text, "   ")
        text = f".. code-block:: {LANGUAGES[path.suffix]}\n\n{code}"
    return f"{head}\n\n{text}\n\n.. until here\n"


def main() -> None:
    differing = []
    for page in sorted(DOCS.glob("*.rst")):
        text = page.read_text(encoding="utf-8")
        fresh = BLOCK.sub(block, text)
        if fresh != text:
            differing.append(page.name)
            if "--check" not in sys.argv[1:]:
                page.write_text(fresh, encoding="utf-8")
    if differing and "--check" in sys.argv[1:]:
        sys.exit(f"Run make format: {', '.join(differing)} shows other code than the examples.")


if __name__ == "__main__":
    main()
