"""The table that is printed while a run goes on. A loss stands beside the figures, as a fault."""

from .results import Row, Spread

HEADINGS = ("subject", "median", "low", "high", "x candidate", "range", "also")
WIDTHS = (16, 10, 10, 10, 12, 15)


def lines(row: Row) -> list[str]:
    """A row as a small table of its own."""
    goals = [
        f"goal{wanted}: {figure:g} times less than fast_channels"
        for wanted, figure in (("", row.figure), (", tuned", row.tuned))
        if figure is not None
    ]
    head = "  ".join([f"{row.title} · {row.kind} · {row.unit}", *goals])
    shown = [head, _line(HEADINGS)]
    for subject in row.subjects:
        shown += _subject(row, subject)
    return [*shown, ""]


def _subject(row: Row, subject: str) -> list[str]:
    spread = row.values(subject)
    shown = [
        f"  {subject:16}failed: {failure.error} (round {failure.round + 1})"
        for failure in row.failures(subject)
    ]
    shown += [
        f"  {subject:16}FAULT: {fault} (round {result.round + 1})"
        for result, fault in row.faults(subject)
    ]
    if spread is None:
        return shown
    ratio = row.ratio(subject) if row.compared else None
    also = ", ".join(f"{name} {number(value)}" for name, value in row.extra(subject).items())
    cells = (
        subject,
        *(number(value) for value in (spread.median, spread.low, spread.high)),
        f"{ratio.median:.2f}" if ratio else "-",
        _range(ratio),
        also,
    )
    return [*shown, _line(cells)]


def _range(ratio: Spread | None) -> str:
    return f"{ratio.low:.2f}-{ratio.high:.2f}" if ratio else ""


def _line(cells: tuple[str, ...]) -> str:
    first, *others, last = cells
    middle = [cell.rjust(width) for cell, width in zip(others, WIDTHS[1:], strict=True)]
    return f"  {first:{WIDTHS[0]}}{''.join(middle)}  {last}".rstrip()


def number(value: float) -> str:
    """Three digits that mean something, and never fewer than the whole number."""
    if value == round(value):
        return f"{value:.0f}"
    for limit, digits in ((100, 0), (10, 1), (0.1, 2)):
        if abs(value) >= limit:
            return f"{value:.{digits}f}"
    return f"{value:.4f}"
