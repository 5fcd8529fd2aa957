"""Copies examples and tables into the pages, and pages into the generated project.

Both are for readers who see the pages without building them.

A page names a file and, for a part of it, the comments between which that part stands::

    .. from: examples/test_jobs.py, after "# consumer", before "# run"

    (what is written here is replaced)

    .. until here

In the project a page speaks of the project's own package, and the roles of Sphinx are plain text or links.

``python docs/inline.py`` rewrites every page; with ``--check`` it only names those that differ.
"""

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).resolve().parent

BLOCK = re.compile(
    r'^(\.\. from: (\S+?)(?:, after "(.+?)")?(?:, before "(.+?)")?)\n.*?^\.\. until here\n',
    re.MULTILINE | re.DOTALL,
)
LANGUAGES = {".py": "python", ".diff": "diff", ".toml": "toml"}

PROJECT = DOCS.parent / "{{cookiecutter.project_slug}}" / "docs"
GUIDES = (
    "existing-app",
    "frames",
    "from-django-channels",
    "identity",
    "internals",
    "layers",
    "presence",
    "production",
    "recipes",
    "recovery",
    "scaling",
    "server",
    "testing",
    "tutorial",
    "worker",
)


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


def link(match: re.Match[str]) -> str:
    name = match[1]
    return (
        f"`{name} <{name}.rst>`_"
        if name in GUIDES
        else f"*{name}*, in the template's documentation"
    )


def guide(text: str) -> str:
    """A page as it stands in the template of a project."""
    text = re.sub(r":doc:`(?:[^`<]*<)?(\w[\w-]*)>?`", link, text)
    text = re.sub(r":rfc:`(\d+)(?:#section-([\d.]+))?`", r"RFC \1, \2", text)
    return text.replace("my_chat", "{{ cookiecutter.project_slug }}")


def pages() -> Iterator[tuple[Path, str]]:
    """Each page, and what has to stand in it."""
    for page in sorted(DOCS.glob("*.rst")):
        text = BLOCK.sub(block, page.read_text(encoding="utf-8"))
        yield page, text
        if page.stem in GUIDES:
            yield PROJECT / page.name, guide(text)


def main() -> None:
    wrong = [
        (page, text)
        for page, text in pages()
        if not page.exists() or page.read_text(encoding="utf-8") != text
    ]
    if "--check" not in sys.argv[1:]:
        for page, text in wrong:
            page.parent.mkdir(exist_ok=True)
            page.write_text(text, encoding="utf-8")
    elif wrong:
        names = ", ".join(str(page.relative_to(DOCS.parent)) for page, _ in wrong)
        sys.exit(f"Run make format: what these pages copy has changed: {names}.")


if __name__ == "__main__":
    main()
