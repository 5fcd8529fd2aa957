"""Our docstrings are written to be read in the source; this makes valid reStructuredText of them.

A list may follow its heading without a blank line, an indented block is code, and a table is drawn with
bars.
"""

from typing import Any


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def process(
    app: Any, what: str, name: str, subject: object, options: object, lines: list[str]
) -> None:
    lines[:] = _with_tables(_with_code(_with_separate_lists(lines)))


def _with_separate_lists(lines: list[str]) -> list[str]:
    """Put a blank line between a paragraph and the list after it."""
    result: list[str] = []
    in_list = False
    for line in lines:
        if line.startswith("- "):
            if not in_list and result and result[-1]:
                result.append("")
            in_list = True
        elif not line.startswith(" "):
            in_list = False
        result.append(line)
    return result


def _with_code(lines: list[str]) -> list[str]:
    """Say of an indented block that follows a paragraph that it is Python."""
    result: list[str] = []
    paragraph = ""  # the last line before a blank one
    for line in lines:
        if line.startswith("    ") and result and not result[-1] and paragraph[:1] not in ("", " "):
            if not paragraph.startswith("- "):
                result += [".. code-block:: python", ""]
            paragraph = ""
        elif line:
            paragraph = line
        result.append(line)
    return result


def _with_tables(lines: list[str]) -> list[str]:
    """Turn rows of ``| a | b |`` into a list-table."""
    result: list[str] = []
    rows: list[list[str]] = []
    for line in [*lines, ""]:
        if line.startswith("|") and line.endswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
            continue
        if rows:
            result += _list_table(rows)
            rows = []
        result.append(line)
    return result


def _list_table(rows: list[list[str]]) -> list[str]:
    table = [".. list-table::", "   :header-rows: 1", ""]
    for row in rows:
        if set("".join(row)) == {"-"}:
            continue
        first, *others = row
        table += [f"   * - {first}", *(f"     - {cell}" for cell in others)]
    return [*table, ""]
