"""The recipes of ``docs/recipes.rst``, as typed from the page: small, and they do what they say."""

import re
import shutil
from pathlib import Path

import pytest

from changes import changes_of, make_all
from conftest import Shared
from rendering import ROOT, TEMPLATE, run

RECIPES = changes_of("recipes")
APP = TEMPLATE / "src" / "{{cookiecutter.project_slug}}"
MOST_LINES = 400
MOST_EDITED = 2  # files of the project; beside them one that is new
# The tests of the app whose matter a recipe changes; in memory, as no recipe knows the layer.
TESTS = ("test_chat", "test_session", "test_jobs")


def test_what_one_reads_to_change_the_chat_is_short() -> None:
    """The frames of the socket and what is done with them: all lines, also empty ones."""
    texts = [(APP / name).read_text(encoding="utf-8") for name in ("chat.py", "schemas.py")]
    assert sum(len(text.splitlines()) for text in texts) < MOST_LINES


def test_there_are_four_small_recipes(rendered: Path) -> None:
    """Each is made without the others: it edits two files at most, and adds one at most."""
    assert [recipe.title for recipe in RECIPES] == [
        "A typing indicator, and what is like it",
        "A second consumer",
        "A job type",
        "A login",
    ]
    for recipe in RECIPES:
        assert 1 <= len(recipe.edited) <= MOST_EDITED, recipe
        assert len(recipe.new) <= 1, recipe
        assert not any((rendered / path).exists() for path in recipe.new)
        recipe.make(rendered, "--check")


@pytest.mark.timeout(600)
def test_the_recipes_do_what_they_say(
    project: Path, shared: Shared, caches: dict[str, str]
) -> None:
    """All in one project: lint is clean, the app's tests pass, and real servers do what is promised."""
    make_all(RECIPES, project)
    env = shared(project) | caches
    linted = run("make", "lint", cwd=project, env=env)
    assert linted.returncode == 0, linted.stdout
    recipes = project / "tests" / "app" / "test_recipes.py"
    shutil.copy(ROOT / "tests" / "in_project" / "recipes.py", recipes)
    files = " ".join(f"tests/app/{name}.py" for name in ("test_recipes", *TESTS))
    tested = run("make", "test", f"ARGS={files} -k 'not redis' -n 0", cwd=project, env=env)
    assert tested.returncode == 0, tested.stdout
    passed = re.search(r"(\d+) passed", tested.stdout)
    assert passed, tested.stdout
    assert int(passed[1]) > 60
