"""The hooks: what they refuse before a file is written, and what they leave alone afterwards."""

import ast
import json
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.exceptions import FailedHookException

from rendering import ROOT, TEMPLATE, render, render_in, run, share_bytecode

HOOKS = ("pre_gen_project.py", "post_gen_project.py")

BAD_SLUGS = {
    "My_Chat": "lower-case letters",
    "my-chat": "lower-case letters",
    "my chat": "lower-case letters",
    "2chat": "must start with a letter",
    "_chat": "must start with a letter",
    "chat_": "single underscores",
    "my__chat": "single underscores",
    "chät": "lower-case letters",
    "a.b": "lower-case letters",
    "../evil": "lower-case letters",
    "class": "is a Python keyword",
    "match": "is a Python keyword",
    "asyncio": "standard library",
    "test": "standard library",
    "telnetlib": "standard library",
    "annotationlib": "standard library",
    "con": "device on Windows",
    "com1": "device on Windows",
    "fastapi": "the project depends on",
    "redis": "the project depends on",
    "pydantic_settings": "the project depends on",
    "dotenv": "the project depends on",
    "opentelemetry": "the project depends on",
    "xdist": "the project depends on",
    "py": "the project depends on",
    "pip": "the project depends on",
    "fast_channels": "part of the generated project",
    "tests": "part of the generated project",
    "src": "part of the generated project",
    "static": "part of the generated project",
    "a" * 41: "41 characters; at most 40",
}

# Prints the names of all that an import finds first.
LIST_MODULES = """
import sys
from pathlib import Path
entries = (entry for folder in sys.path[1:] if Path(folder).is_dir() for entry in Path(folder).iterdir())
names = {entry.name.partition(".")[0] for entry in entries if entry.suffix in {"", ".py", ".so"}}
print(*(names | sys.stdlib_module_names))
"""

BAD_TEXTS = {
    "empty": ("   ", "is empty"),
    "newline": ("one\ntwo", "U+000A"),
    # Jinja turns every line end into LF before the hook sees it.
    "carriage return": ("one\rtwo", "U+000A"),
    "NUL": ("one\0two", "U+0000"),
    "escape": ("\x1b[31mred", "U+001B"),
    "delete": ("one\x7ftwo", "U+007F"),
    "line separator": ("one\u2028two", "U+2028"),
    "too long": ("x" * 201, "201 characters"),
}


def refusal(output: Path, capfd: pytest.CaptureFixture[str], **answers: str) -> str:
    """What the hook says, after checking that it is one sentence and that nothing was written."""
    with pytest.raises(FailedHookException):
        render(output, answers)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("Refused: ")]
    assert len(lines) == 1
    assert lines[0].endswith(".")
    assert [path for path in output.rglob("*") if path.is_file()] == []
    assert [path.name for path in output.parent.iterdir() if path.name == "evil"] == []
    return lines[0]


@pytest.mark.parametrize(("slug", "reason"), BAD_SLUGS.items())
def test_a_bad_slug_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], slug: str, reason: str
) -> None:
    """One sentence names the slug and the reason."""
    said = refusal(tmp_path / "out", capfd, project_slug=slug)
    assert reason in said
    assert "project_slug" in said


@pytest.mark.parametrize("name", ["project_name", "description", "author_name"])
@pytest.mark.parametrize(("text", "reason"), BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_an_answer_that_is_no_line_of_text_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, text: str, reason: str
) -> None:
    """Control characters, nothing, and far too much are refused by name."""
    said = refusal(tmp_path / "out", capfd, **{"project_slug": "chat", name: text})
    assert name in said
    assert reason in said


def test_a_name_that_makes_a_bad_slug_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The sentence offers a slug to take instead."""
    said = refusal(tmp_path / "out", capfd, project_name="Test")
    assert said == (
        "Refused: project_slug 'test' is a module of the Python standard library; "
        "choose another name, for example test_app."
    )


def test_every_importable_module_is_refused_as_a_slug(installed: Path) -> None:
    """Whatever stands on the path of an installed project, packages and the library's own modules."""
    listed = run("uv", "run", "--locked", "python", "-c", LIST_MODULES, cwd=installed)
    assert listed.returncode == 0, listed.stdout
    names = set(listed.stdout.splitlines()[-1].split()) - {"my_chat"}
    assert names > {"redis", "xdist", "asyncio", "test", "array"}
    hook = (ROOT / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8")
    scope: dict[str, Any] = {"__name__": "hook"}
    exec(hook.replace("{{ cookiecutter|tojson }}", "{}"), scope)
    accepted = set()
    for name in filter(scope["SLUG"].fullmatch, names):
        try:
            scope["check_slug"](name)
        except SystemExit:
            continue
        accepted.add(name)
    assert accepted == set()


@pytest.fixture(scope="module")
def environment(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where one project after another is installed, so that what they need is once: all of it is there
    already, and compiled, as links to that of `installed`.
    """
    copied = tmp_path_factory.mktemp("environment") / ".venv"
    shutil.copytree(installed / ".venv", copied, symlinks=True, copy_function=os.link)
    return {"UV_PROJECT_ENVIRONMENT": str(copied)}


@pytest.mark.parametrize("slug", ["app", "conftest", "faults", "main"])
def test_an_accepted_slug_starts(
    tmp_path: Path, installed: Path, environment: dict[str, str], slug: str
) -> None:
    """Names of modules deeper down hide nothing: the app is found, and so are the tests."""
    project = render(tmp_path / "out", {"project_slug": slug})
    share_bytecode(installed, project)
    sync = ["uv", "sync", "--locked"]  # takes the one before away
    # Its own script would start the Python that it was installed with. -P: as that does, not from here.
    program = f"import sys, pytest; ended = pytest.main(); import {slug}.main, {slug}.worker; sys.exit(ended)"
    collect = ["uv", "run", "--locked", "python", "-P", "-c", program, "-q", "--collect-only"]
    deepest = ["tests/app/test_process_ends.py", "tests/fast_channels/faults"]
    for command in (sync, [*collect, *deepest]):
        done = run(*command, cwd=project, env=environment)
        assert done.returncode == 0, done.stdout


def test_every_installed_package_is_refused_as_a_slug() -> None:
    """The hook's list keeps up with the lock file."""
    lock = (TEMPLATE / "uv.lock").read_text(encoding="utf-8")
    packages = {str(package["name"]) for package in tomllib.loads(lock)["package"]}
    packages = {name.replace("-", "_") for name in packages if "cookiecutter" not in name}
    hook = (ROOT / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8")
    assert packages - set(re.findall(r"\w+", hook)) == set()


def test_no_helper_of_the_tests_takes_a_name() -> None:
    """They are imported relatively: traffic, faults or redis_servers are names for a project."""
    hook = (ROOT / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8")
    scope: dict[str, Any] = {"__name__": "hook"}
    exec(hook.replace("{{ cookiecutter|tojson }}", "{}"), scope)
    helpers = {path.stem for path in (TEMPLATE / "tests" / "fast_channels").rglob("*")}
    names = {name for name in helpers if name.isidentifier() and name.strip("_") == name}
    assert names > {"traffic", "faults", "redis_servers", "expect"}
    assert {name for name in names if name in scope["OWN_NAMES"]} == set()
    assert {path.name for path in (TEMPLATE / "tests").iterdir()} <= {
        "app",
        "conftest.py",
        "fast_channels",
    }


def test_choices_are_those_of_the_prompts() -> None:
    """The hook accepts exactly what cookiecutter.json offers."""
    context = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    offered = {name: tuple(value) for name, value in context.items() if isinstance(value, list)}
    del offered["_copy_without_render"]
    tree = ast.parse((ROOT / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8"))
    accepted = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CHOICES"
    )
    assert accepted == offered


def test_prompts_explain_every_answer_and_choice() -> None:
    """At most eight questions; each has a text, and each choice says what it costs."""
    context = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    asked = {name: value for name, value in context.items() if not name.startswith("_")}
    prompts = context["__prompts__"]
    assert len(asked) <= 8
    assert prompts.keys() == asked.keys()
    for name, value in asked.items():
        if isinstance(value, list):
            assert prompts[name].keys() == {"__prompt__", *value}
            for choice in value:
                assert prompts[name][choice].startswith(f"{choice} - ")


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_are_short_and_standard_library_only(hook: str) -> None:
    """Under 120 lines, valid Python before rendering, and no import from outside."""
    text = (ROOT / "hooks" / hook).read_text(encoding="utf-8")
    assert len(text.splitlines()) < 120
    imported = {
        module.partition(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
        )
    }
    assert imported <= sys.stdlib_module_names
    assert not imported & {"socket", "urllib", "http", "ssl", "ftplib"}


def test_git_is_started_where_there_is_no_repository(rendered: Path) -> None:
    """A new project is a repository on main, with nothing committed."""
    assert (rendered / ".git" / "HEAD").read_text() == "ref: refs/heads/main\n"
    assert run("git", "rev-parse", "HEAD", cwd=rendered).returncode != 0


def test_a_surrounding_repository_is_not_nested(tmp_path: Path) -> None:
    """Inside somebody's repository the project stays a plain folder."""
    assert run("git", "init", "--quiet", cwd=tmp_path).returncode == 0
    assert not (render(tmp_path / "out") / ".git").exists()


def test_a_missing_git_is_not_fatal(tmp_path: Path) -> None:
    """Without git the project is complete, and the hook says what was left out."""
    project, said = render_in({"PATH": str(tmp_path)}, tmp_path / "out")
    assert (project / "uv.lock").is_file()
    assert not (project / ".git").exists()
    assert "git was not found" in said


def test_rendering_again_keeps_what_the_owner_added(project: Path) -> None:
    """Overwriting refreshes the template's files and touches no other, secrets least of all."""
    mine = [
        ".env",
        ".github/workflows/release.yml",
        "licenses/third-party",
        "src/my_chat_extra/a.py",
    ]
    for name in mine:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("mine\n")
    (project / "README.md").write_text("gone\n")
    assert render(project.parent, {"ci": "gitlab"}, overwrite=True) == project
    assert [(project / name).read_text() for name in mine] == ["mine\n"] * len(mine)
    assert (project / "README.md").read_text().startswith("# My Chat\n")
    gone = [f".github/workflows/{name}.yml" for name in ("ci", "runtime")]
    assert [name for name in gone if (project / name).exists()] == []
