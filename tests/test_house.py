"""Rules of the house that a reader relies on: where imports may point, how long a file may be."""

import re
import sys
from pathlib import Path

import pytest

from rendering import ROOT, TEMPLATE, files, run, scratch_repository

sys.path.insert(0, str(ROOT))
from benchmarks.imports import RUNTIME, SOURCES, circles, graph, imports, module_name

APP = SOURCES / TEMPLATE.name

MAX_LINES = 700

# Names that fast-channels and Django Channels have given to several modules.
PUBLIC_TWICE = {"base", "http", "websocket", "utils", "type_defs"}

# Module (with what is below it) -> what it must not import. Data flows socket, consumer, layer, broker.
FORBIDDEN = {
    "fast_channels.exceptions": ("fast_channels",),
    "fast_channels.tasks": ("fast_channels",),
    "fast_channels.type_defs": ("fast_channels",),
    "fast_channels.names": (
        "fast_channels.consumer",
        "fast_channels.layers",
        "fast_channels.mailbox",
        "redis",
    ),
    "fast_channels.mailbox": ("fast_channels.consumer", "fast_channels.layers", "redis"),
    "fast_channels.layers": (
        "fast_channels.consumer",
        "fast_channels.middleware",
        "fast_channels.recovery",
        "fast_channels.testing",
        "fast_channels.worker",
    ),
    "fast_channels.layers.base": ("fast_channels.layers.redis", "redis"),
    "fast_channels.layers.in_memory": ("fast_channels.layers.redis", "redis"),
    # Topology is not delivery: how a server is found and reached knows nothing of messages.
    "fast_channels.layers.redis.client": (
        "fast_channels.layers",
        "fast_channels.mailbox",
        "fast_channels.messages",
        "fast_channels.names",
    ),
    "fast_channels.consumer": (
        "fast_channels.layers.redis",
        "fast_channels.layers.in_memory",
        "fast_channels.middleware",
        "fast_channels.recovery",
        "fast_channels.testing",
        "redis",
    ),
    "fast_channels.middleware": ("fast_channels.layers", "fast_channels.testing", "redis"),
    "fast_channels.identity": (
        "fast_channels.layers.redis",
        "fast_channels.middleware",
        "fast_channels.testing",
        "fast_channels.worker",
        "redis",
    ),
    "fast_channels.server": ("fast_channels.consumer", "fast_channels.layers", "redis"),
    "fast_channels.frames": (
        "fast_channels.layers.redis",
        "fast_channels.layers.in_memory",
        "fast_channels.middleware",
        "fast_channels.testing",
        "redis",
    ),
    # The runtime stands on the standard library, redis and its serializers alone.
    "fast_channels": (
        "fastapi",
        "starlette",
        "uvicorn",
        "websockets",
        "pydantic",
        "pytest",
        "typer",
        TEMPLATE.name,
    ),
}

# What nothing else in the runtime imports: the protocol class that uvicorn is told, the command line, and
# parts for those who have the library anyway; but the command line has a command for some.
COMMAND_LINE = "fast_channels.__main__"
ALLOWED = {
    "fast_channels.server": ("uvicorn", "websockets"),
    "fast_channels.frames": ("pydantic", "pydantic_core", "starlette"),
    "fast_channels.sse": ("fastapi",),
    COMMAND_LINE: ("typer",),
}

# Parts that can be deleted: nothing else of the runtime imports one.
REMOVABLE = ("fast_channels.identity", "fast_channels.presence")


def python_files(*folders: Path) -> list[Path]:
    """Without those of an environment that a folder holds."""
    paths = [path for folder in folders for path in files(folder)]
    return [path for path in paths if path.suffix == ".py" and ".venv" not in path.parts]


def within(name: str, parent: str) -> bool:
    return name == parent or name.startswith(f"{parent}.")


def is_allowed(path: Path, name: str) -> bool:
    return any(
        within(module_name(path), module) and any(within(name, parent) for parent in parents)
        for module, parents in ALLOWED.items()
    )


def test_there_is_something_to_check() -> None:
    """The rules below look at real files."""
    assert len(python_files(RUNTIME)) > 10
    assert len(python_files(APP)) > 4


@pytest.mark.parametrize("module", FORBIDDEN)
def test_imports_point_one_way(module: str) -> None:
    """A module never imports what stands above it."""
    paths = [path for path in python_files(RUNTIME) if within(module_name(path), module)]
    assert paths, f"{module} is gone: name its successor in this rule"
    wrong = [
        f"{module_name(path)} imports {name}"
        for path in paths
        for name in imports(path)
        for parent in FORBIDDEN[module]
        if within(name, parent) and not within(name, module) and not is_allowed(path, name)
    ]
    assert wrong == []


@pytest.mark.parametrize("module", [*ALLOWED, *REMOVABLE])
def test_nothing_imports_what_needs_more(module: str) -> None:
    """The runtime works behind any ASGI server, without a command line, and without any of its parts."""
    assert [path for path in python_files(RUNTIME) if within(module_name(path), module)]
    wrong = [
        f"{module_name(path)} imports {name}"
        for path in python_files(RUNTIME)
        for name in imports(path)
        if within(name, module)
        and not within(module_name(path), module)
        and module_name(path) != COMMAND_LINE
    ]
    assert wrong == []


def test_no_import_goes_in_a_circle() -> None:
    """The modules can be read in one order, each after what it builds on; also what is imported for a
    type checker only, or within a function.
    """
    assert circles(graph(RUNTIME)) == []


def test_the_map_of_the_parts_is_that_of_the_imports() -> None:
    """In docs/internals.rst: each module stands there, above or beside those that it imports."""
    page = (ROOT / "docs" / "internals.rst").read_text(encoding="utf-8")
    rows = page.partition("every import::\n\n")[2].partition("\n\n")[0].splitlines()
    column = rows[0].index("bytes")
    row_of = {part: row for row, line in enumerate(rows) for part in line[:column].split()}
    needs = graph(RUNTIME)
    stands = {
        name: row
        for name in needs
        for part, row in row_of.items()
        if f"{name}.".startswith(f"fast_channels.{part}.")
    }
    assert sorted(needs.keys() - stands) == []
    upwards = [(name, one) for name in needs for one in needs[name] if stands[one] < stands[name]]
    assert upwards == []


def test_no_modules_name_stands_for_two() -> None:
    """Within a part of the package; but for what is public and stays."""
    names: dict[tuple[str, str], list[str]] = {}
    for module in graph(RUNTIME):
        _, part, *rest = module.split(".")
        names.setdefault((part, rest[-1] if rest else ""), []).append(module)
    twice = {name: found for (_, name), found in names.items() if len(found) > 1}
    assert {name: found for name, found in twice.items() if name not in PUBLIC_TWICE} == {}


def test_the_app_imports_only_public_names() -> None:
    """The app uses the runtime as a reader would, without names that start with an underscore."""
    wrong = [
        f"{path.name}: {name}"
        for path in python_files(APP)
        for name in imports(path)
        if within(name, "fast_channels") and re.search(r"\._[a-z]", name)
    ]
    assert wrong == []


def test_no_jinja_in_python() -> None:
    """Source files run as they stand; presence of a file or a setting makes the variants."""
    wrong = [
        path.relative_to(TEMPLATE).as_posix()
        for path in python_files(SOURCES)
        if re.search(r"\{\{\s*cookiecutter|\{%", path.read_text(encoding="utf-8"))
    ]
    assert wrong == []


def test_no_file_is_too_long() -> None:
    """A reader can read one whole: one concept, one file."""
    checked = python_files(
        SOURCES, TEMPLATE / "tests", ROOT / "tests", ROOT / "hooks", ROOT / "benchmarks"
    )
    long = {
        path.name: count
        for path in checked
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert long == {}


def test_every_module_says_what_it_owns() -> None:
    """The first lines of a module are its docstring."""
    silent = [
        path.relative_to(ROOT).as_posix()
        for path in python_files(
            SOURCES, TEMPLATE / "tests", ROOT / "tests", ROOT / "hooks", ROOT / "benchmarks"
        )
        if path.stat().st_size and not path.read_text(encoding="utf-8").startswith('"""')
    ]
    assert silent == []


def test_no_path_of_a_machine(tmp_path: Path) -> None:
    """No committed text names a folder of somebody's home."""
    listed = run(
        *scratch_repository(tmp_path), "ls-files", "-z", "--others", "--exclude-standard", cwd=ROOT
    )
    assert listed.returncode == 0, listed.stdout
    names = list(filter(None, listed.stdout.split("\0")))
    assert "cookiecutter.json" in names
    wrong = []
    for name in names:
        path = ROOT / name
        if path.is_file() and path.suffix not in {".png", ".lock"}:
            text = path.read_text(encoding="utf-8")
            wrong += [
                f"{name}: {hit}" for hit in re.findall(r"/(?:home|Users)/\w+|[A-Z]:\\Users", text)
            ]
    assert wrong == []
