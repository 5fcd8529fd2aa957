"""The documentation builds without a warning, and its examples run as they are printed."""

import ast
import re
import shutil
from pathlib import Path

import pytest

from changes import changes_of, make_all
from conftest import Render, Shared
from rendering import ROOT, TEMPLATE, run

EXAMPLES = ROOT / "docs" / "examples"
RUNTIME = TEMPLATE / "src" / "fast_channels"


def test_the_pages_show_the_examples() -> None:
    """Word for word, also where a page is read without being built."""
    checked = run("python3", "docs/inline.py", "--check", cwd=ROOT)
    assert checked.returncode == 0, checked.stdout
    pages = {page.name: page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.rst")}
    assert [name for name, text in pages.items() if "literalinclude" in text] == []
    shown = set(
        re.findall(r"^\.\. from: examples/(\S+?),?(?: |$)", "".join(pages.values()), re.MULTILINE)
    )
    assert shown == {path.name for path in EXAMPLES.iterdir() if path.is_file()}


def test_the_guides_are_in_the_project(render: Render) -> None:
    """A page of its own documentation names its own package, and each link in it leads somewhere."""
    project = render(project_slug="a")
    guides = {page.name: page.read_text(encoding="utf-8") for page in (project / "docs").iterdir()}
    assert guides.keys() > {"layers.rst", "production.rst", "worker.rst"}
    for name, text in guides.items():
        assert re.findall(r"my_chat|:doc:|:rfc:|literalinclude|include::", text) == [], name
        assert set(re.findall(r"<(\S+\.rst)>`_", text)) <= guides.keys(), name
    assert "src/a/worker.py" in guides["worker.rst"]
    readme = (project / "README.md").read_text(encoding="utf-8")
    links = set(re.findall(r"\]\((docs/[^)]*)\)", readme))
    assert links == {f"docs/{name}" for name in guides}


def test_another_example_than_the_pages_is_noticed(tmp_path: Path) -> None:
    """The page is named; without --check it is brought up to date."""
    docs = tmp_path / "docs"
    (docs / "examples").mkdir(parents=True)
    shutil.copy(ROOT / "docs" / "inline.py", docs)
    (docs / "examples" / "a.py").write_text(
        "# from here\n\n\ndef a() -> None:\n    pass\n\n\n# end\n"
    )
    head = '.. from: examples/a.py, after "# from here", before "# end"\n\n'
    (docs / "page.rst").write_text(f"{head}old\n\n.. until here\n\nText.\n")
    checked = run("python3", "docs/inline.py", "--check", cwd=tmp_path)
    assert checked.returncode == 1
    assert checked.stdout == "Run make format: what these pages copy has changed: docs/page.rst.\n"
    assert run("python3", "docs/inline.py", cwd=tmp_path).returncode == 0
    code = ".. code-block:: python\n\n   def a() -> None:\n       pass\n"
    assert (docs / "page.rst").read_text() == f"{head}{code}\n.. until here\n\nText.\n"


def test_the_page_on_the_inside_names_what_is_there() -> None:
    """Each module, class and function, so that a reader finds it."""
    page = (ROOT / "docs" / "internals.rst").read_text(encoding="utf-8")
    names = set(re.findall(r"``([a-z_]+(?:\.[A-Za-z_]+)+)``", page))
    assert len(names) > 40
    assert sorted(name for name in names if not is_defined(name.split("."))) == []


def is_defined(name: list[str]) -> bool:
    """Read from the sources: the template's own environment has not what the runtime needs."""
    path, rest = RUNTIME, list(name)
    while rest and (path / rest[0]).is_dir():
        path /= rest.pop(0)
    if not rest:
        return True
    file = path / f"{rest.pop(0)}.py"
    if not file.is_file():
        return False
    scope: list[ast.stmt] = ast.parse(file.read_text(encoding="utf-8")).body
    for part in rest:
        found = [node for node in scope if getattr(node, "name", None) == part]
        if not found:
            return False
        scope = getattr(found[0], "body", [])
    return True


@pytest.mark.timeout(600)
def test_the_documentation_builds(tmp_path: Path) -> None:
    """Sphinx with warnings as errors."""
    command = ["uv", "run", "--locked", "--group", "docs", "sphinx-build", "--quiet"]
    built = run(*command, "--fail-on-warning", "docs", str(tmp_path), cwd=ROOT, timeout=580)
    assert built.returncode == 0, built.stdout
    assert (tmp_path / "index.html").is_file()


@pytest.mark.timeout(600)
def test_the_tutorial_and_the_examples_do_what_they_say(
    project: Path, shared: Shared, caches: dict[str, str]
) -> None:
    """The tutorial as typed from its page: its test passes, lint is clean, and a real server does the same.
    In that project the examples of all pages pass as tests.
    """
    make_all(changes_of("tutorial"), project)
    env = shared(project) | caches
    linted = run("make", "lint", cwd=project, env=env, timeout=580)
    assert linted.returncode == 0, linted.stdout
    dice = [f"tests/app/test_{name}.py" for name in ("dice", "dice_on_a_server")]
    shutil.copy(ROOT / "tests" / "in_project" / "dice.py", project / dice[-1])
    examples = project / "tests" / "examples"
    examples.mkdir()
    for example in EXAMPLES.glob("test_*.py"):
        shutil.copy(example, examples)
    (examples / "test_dice.py").unlink()  # that of the tutorial
    command = ("make", "test", f"ARGS=-n 0 -v {' '.join(dice)} tests/examples")
    tested = run(*command, cwd=project, env=env, timeout=580)
    assert tested.returncode == 0, tested.stdout
    assert len(re.findall(r"dice\S* PASSED", tested.stdout)) == 2
    assert re.search(r"tests/examples/\S* PASSED", tested.stdout)
