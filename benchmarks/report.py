"""`python -m benchmarks.report FILE...`: makes of runs' samples the tables and charts of docs/."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .chart import Bar, draw
from .results import AGAIN, CANDIDATE, Result, Row, Spread
from .store import ROOT
from .table import number

PEER = "fast_channels"
TUNED = "candidate-tuned"
ORDER = (
    CANDIDATE,
    TUNED,
    PEER,
    "channels_redis",
    "litestar",
    "broadcaster",
    "socketio",
    "raw",
    "floor",
    "wire",
)
KINDS = ("memory", "pubsub", "queue", "-")
LIVE = ("positions", "recovery", "presence", "frames")  # cases, or beginnings of their names
NOTHING = "\N{EN DASH}"


def load(paths: list[Path]) -> tuple[dict[str, Any], list[Row]]:
    """The machine of the first run, and the rows of all; the same row's steady rounds together."""
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    rows: dict[tuple[str, str], Row] = {}
    for run, content in enumerate(contents):
        for row in content["rows"]:
            results = [
                Result(**{**result, "round": (run, result["round"])}) for result in row["results"]
            ]
            known = rows.setdefault((row["case"], row["kind"]), Row(**{**row, "results": []}))
            known.results += results
    return contents[0]["machine"], [row.steady() for row in rows.values()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.report", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "benchmarks")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="such as live.txt; default: all")
    options = parser.parse_args()
    machine, rows = load(options.files)
    options.to.mkdir(exist_ok=True)
    for name, text in documents(machine, rows):
        if not options.only or name in options.only:
            (options.to / name).write_text(text, encoding="utf-8")


def documents(machine: dict[str, Any], rows: list[Row]) -> Iterator[tuple[str, str]]:
    """Names and contents of all files."""
    plain = [row for row in rows if not row.case.startswith("growth-")]
    yield "machine.txt", _machine(machine)
    yield "ratios.txt", list_table(*ratios(plain))
    yield "figures.txt", list_table(*figures([row for row in plain if row.compared]))
    yield "redis.txt", list_table(*redis(plain))
    yield "live.txt", list_table(*live([row for row in rows if row.case.startswith(LIVE)]))
    yield "stalled.txt", list_table(*facts([row for row in rows if row.case == "stalled"]))
    yield "growth.txt", list_table(*growth([row for row in rows if row not in plain]))
    for kind in KINDS:
        bars = list(_bars([row for row in plain if row.kind == kind]))
        name = "no-layer" if kind == "-" else kind
        title = f"Times less than fast-channels 1.1.0: {name.replace('-', ' ')}"
        if bars:
            yield f"{name}.svg", draw(title, bars)


Table = tuple[list[str], list[list[str]]]


def live(rows: list[Row]) -> Table:
    """What the live features take, which no peer has: medians, by layer."""
    kinds = KINDS[:-1]
    titles: dict[str, dict[str, Row]] = {}
    for row in rows:
        titles.setdefault(f"{row.title}, {row.unit}", {})[row.kind] = row
    lines = [
        [title, *(_median(found[kind], CANDIDATE) if kind in found else NOTHING for kind in kinds)]
        for title, found in titles.items()
    ]
    return ["case", *kinds], lines


def ratios(rows: list[Row]) -> Table:
    """How many times less than the peer that we come from, and what was aimed at."""
    lines = []
    for row in rows:
        for subject, goal in ((CANDIDATE, row.figure), (TUNED, row.tuned)):
            ratio = row.ratio(PEER, to=subject) if row.compared else None
            if ratio is None and goal is None:
                continue
            noise = row.ratio(AGAIN) if subject == CANDIDATE else None
            title = row.title + (", tuned protocol" if subject == TUNED else "")
            lines.append(
                [title, row.kind, _spread(ratio), f"{goal:g}" if goal else NOTHING, _spread(noise)]
            )
    return ["case", "layer", "times less", "goal", "the same twice"], lines


def figures(rows: list[Row]) -> Table:
    """Medians of every subject; what failed says so."""
    present = {subject for row in rows for subject in row.subjects}
    subjects = [subject for subject in ORDER if subject in present]
    lines = [
        [f"{row.title}, {row.unit}", row.kind, *(_median(row, subject) for subject in subjects)]
        for row in rows
    ]
    return ["case", "layer", *subjects], lines


def redis(rows: list[Row]) -> Table:
    """What Redis does for one operation."""
    names = ("commands", "in scripts", "redis commands", "redis B in", "redis B out", "redis µs")
    lines = []
    for row in rows:
        for subject in (CANDIDATE, PEER):
            extra = row.extra(subject)
            if "redis commands" in extra:
                shown = [number(extra[name]) if name in extra else NOTHING for name in names]
                lines.append([row.title, row.kind, subject, *shown])
    heads = ["of clients", "in scripts", "commands in all", "bytes in", "bytes out", "µs CPU"]
    return ["case", "layer", "subject", *heads], lines


def facts(rows: list[Row]) -> Table:
    """Whatever else was measured, name by name."""
    names = [n for row in rows for s in row.subjects for n in row.extra(s)]
    shown = [name for name in dict.fromkeys(names) if not name.startswith("redis")]
    lines = [
        [subject, row.kind, *(number(row.extra(subject).get(name, 0)) for name in shown)]
        for row in rows
        for subject in row.subjects
    ]
    return ["subject", "layer", *shown], lines


def growth(rows: list[Row]) -> Table:
    """The candidate and the peer, by size."""
    names = dict.fromkeys((row.title.removeprefix("growth: "), row.unit) for row in rows)
    kinds = [kind for kind in KINDS if any(row.kind == kind for row in rows)]
    heads = [f"{subject}, {kind}" for kind in kinds for subject in (CANDIDATE, PEER)]
    lines = []
    for title, unit in names:
        found = {row.kind: row for row in rows if row.title.endswith(f": {title}")}
        cells = [
            _median(found[kind], subject) if kind in found else NOTHING
            for kind in kinds
            for subject in (CANDIDATE, PEER)
        ]
        lines.append([f"{title}, {unit}", *cells])
    return ["size", *heads], lines


def _bars(rows: list[Row]) -> Iterator[Bar]:
    for row in rows:
        for subject, goal in ((CANDIDATE, row.figure), (TUNED, row.tuned)):
            ratio = row.ratio(PEER, to=subject) if row.compared else None
            if ratio is not None:
                tuned = subject == TUNED
                label = _short(row.title) + (", tuned" if tuned else "")
                yield Bar(label, ratio, goal, tuned)


def _short(title: str) -> str:
    """Without what stands in brackets."""
    return title.split(" (")[0]


def _median(row: Row, subject: str) -> str:
    spread = row.values(subject)
    if spread is not None:
        return number(spread.median)
    return "failed" if row.failures(subject) else NOTHING


def _spread(ratio: Spread | None) -> str:
    return f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})" if ratio else NOTHING


def list_table(heads: list[str], lines: list[list[str]]) -> str:
    """reST, which has no table without a row."""
    if not lines:
        return "Not measured.\n"
    shown = [".. list-table::", "   :header-rows: 1", ""]
    for first, *others in [heads, *lines]:
        shown += [f"   * - {first}", *(f"     - {cell}" for cell in others)]
    return "\n".join(shown) + "\n"


def _machine(machine: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return (
        f"Measured on {machine['date']}: {machine['processor']}, {machine['cores']} cores "
        f"({machine['pinning']}), {machine['system']}, Python {machine['python']}, "
        f"Redis {machine['redis']}, {machine['loop']}, {machine['rounds']} rounds; {packages}.\n"
    )


if __name__ == "__main__":
    main()
