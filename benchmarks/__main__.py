"""`python -m benchmarks`: chooses cases, kinds, peers and rounds; prints a table, keeps the samples."""

import argparse
import importlib
import json
import pkgutil
import sys
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType

from . import cpus, machine, runner, table
from .case import NO_KIND, Case
from .results import Row
from .store import TEMPLATE, Redis

FOLDERS = ("cases", "sockets")
HELP_FILTER = "names or patterns, separated by spaces; default: all"


def collect() -> list[Case]:
    """Every case of every module, in the order of the modules' names."""
    cases: list[Case] = []
    for folder in FOLDERS:
        if not (Path(__file__).parent / folder / "__init__.py").is_file():
            continue
        package = importlib.import_module(f".{folder}", __package__)
        for info in pkgutil.iter_modules(package.__path__):
            if not info.ispkg:
                cases += _cases_of(importlib.import_module(f"{package.__name__}.{info.name}"))
    return cases


def _cases_of(module: ModuleType) -> list[Case]:
    return list(getattr(module, "CASES", []))


def chosen(cases: list[Case], patterns: tuple[str, ...], quick: bool = False) -> list[Case]:
    """Cases whose name is, starts with or matches one of the patterns; none: the default ones."""
    if not patterns:
        return [case for case in cases if case.default and (case.quick or not quick)]
    unknown = [p for p in patterns if not any(_matches(case, p) for case in cases)]
    if unknown:
        known = " ".join(case.name for case in cases)
        sys.exit(f"No case is called {' or '.join(unknown)}; there are: {known}")
    return [case for case in cases if any(_matches(case, p) for p in patterns)]


def _matches(case: Case, pattern: str) -> bool:
    return fnmatch(case.name, pattern) or case.name.startswith(f"{pattern}-")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--cases", type=_words, default=(), help=HELP_FILTER)
    parser.add_argument("--kinds", type=_words, default=(), help="memory, pubsub, queue, -")
    parser.add_argument("--peers", type=_words, default=(), help="subjects beside the candidate")
    parser.add_argument("--rounds", type=_positive, default=5)
    parser.add_argument("--quick", action="store_true", help="tiny work: does everything run?")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep every sample")
    parser.add_argument(
        "--candidate", type=Path, default=TEMPLATE / "src", help="a folder with fast_channels/"
    )
    parser.add_argument("--before", type=Path, help="another such folder, measured beside it")
    parser.add_argument("--list", action="store_true", help="the names of the cases that would run")
    return parser


def main() -> int:
    options = _parser().parse_args()
    cases = chosen(collect(), options.cases, options.quick)
    if options.list:
        print("\n".join(f"{case.name:20} {case.title}: {case.unit}" for case in cases))
        return 0
    _known("kind", options.kinds, {kind for case in cases for kind in case.kinds or (NO_KIND,)})
    _known("subject", options.peers, {subject for case in cases for subject in case.subjects})
    plan = runner.Plan(
        candidate=_runtime(options.candidate),
        before=options.before and _runtime(options.before),
        rounds=1 if options.quick else options.rounds,
        kinds=options.kinds,
        peers=options.peers,
        quick=options.quick,
        loop=options.loop,
    )
    where = cpus.Cpus() if plan.quick else cpus.choose()
    with Redis() as redis:
        about = machine.describe(plan, where, redis.version)
    print(f"{about['processor']}, Python {about['python']}, Redis {about['redis']}, {where}\n")
    rows = runner.run(plan, cases, where, _show)
    if options.json:
        _keep(options.json, about, rows)
    return 0


def _known(what: str, asked: tuple[str, ...], possible: set[str]) -> None:
    unknown = set(asked) - possible
    if unknown:
        names = " ".join(sorted(possible))
        sys.exit(f"No {what} of these cases is called {' or '.join(sorted(unknown))}: {names}")


def _runtime(folder: Path) -> Path:
    if not (folder / "fast_channels" / "__init__.py").is_file():
        sys.exit(f"{folder} holds no fast_channels/")
    return folder.resolve()


def _show(row: Row) -> None:
    print("\n".join(table.lines(row)), flush=True)


def _keep(path: Path, about: dict[str, object], rows: list[Row]) -> None:
    content = {"machine": about, "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
