"""How the runtime's modules import each other, read from their sources: `make house` and the rules of the
house. Imports that only a type checker sees count like all others: a reader follows them too.
"""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parent.parent / "{{cookiecutter.project_slug}}"
SOURCES = TEMPLATE / "src"
RUNTIME = SOURCES / "fast_channels"


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCES).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Absolute names of all that a file imports, wherever in it."""
    package = module_name(path.parent / "__init__.py").split(".")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def graph(folder: Path) -> dict[str, set[str]]:
    """What each module of a folder imports of the others; packages' own names lead nowhere."""
    modules = {
        module_name(path): path for path in folder.rglob("*.py") if path.name != "__init__.py"
    }
    return {name: (modules.keys() & set(imports(path))) - {name} for name, path in modules.items()}


def reachable(needs: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    ahead = list(needs[start])
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += needs[name]
    return found


def circles(needs: dict[str, set[str]]) -> list[tuple[str, ...]]:
    """Groups of modules each of which leads to all the others of its group."""
    leads = {name: reachable(needs, name) for name in needs}
    groups = {
        tuple(sorted(other for other in leads[name] if name in leads[other]))
        for name in needs
        if name in leads[name]
    }
    return sorted(groups)


def floors(needs: dict[str, set[str]]) -> int:
    group_of = {name: group for group in circles(needs) for name in group}
    between = {
        group_of.get(name, (name,)): {
            group_of.get(other, (other,))
            for one in group_of.get(name, (name,))
            for other in needs[one]
        }
        - {group_of.get(name, (name,))}
        for name in needs
    }
    height: dict[tuple[str, ...], int] = {}
    for group in TopologicalSorter(between).static_order():
        height[group] = 1 + max((height[other] for other in between[group]), default=0)
    return max(height.values())
