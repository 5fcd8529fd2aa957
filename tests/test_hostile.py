"""Answers written to break out of a file end up as text in valid files; nothing of them is run."""

import ast
import io
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from cookiecutter.exceptions import FailedHookException

from rendering import ROOT, configuration, environment, files, render, run

HOSTILE = {
    "quotes": """He said "it's" and '''left''' \"\"\"now\"\"\" """.strip(),
    "backslashes": r"C:\new\table \" \' \\ \u0041 \x",
    "import": '"; import os; os.system("touch pwned")  #',
    "shell": "$(touch pwned) `touch pwned` ; touch pwned | & > pwned",
    "make": "$(shell touch pwned) $$HOME %.o: all",
    "markup": "<script>alert(1)</script> &amp; <b>",
    "toml": '" ] [tool.evil] x = "1" # }',
    "yaml": "- a: {b: [c]} !!python/object:os.system # | >",
    "emoji": "Größe 日本語 🚀👩‍💻 ‮rtl‬",
    "expression": "{{ 7 * 7 }} {{ cookiecutter.__class__ }} ${{ github.token }}",
    "statement": "{% raw %}{% for x in y %}{# comment #} {{",
    "percent": "%s %(name)s {0} {name} {{}}",
}

PROMPTS_AFTER_TEXTS = (
    4  # channel_layer, redis_topology, ci, license: an empty line takes the default
)


def typed(*lines: str) -> str:
    return "\n".join([*lines, *[""] * PROMPTS_AFTER_TEXTS, ""])


def answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *lines: str) -> Path:
    """Type ``lines`` into cookiecutter's prompts; the project."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed(*lines), newline="\n"))
    return render(tmp_path / "out", prompts=True)


def answer_the_command(tmp_path: Path, *lines: str) -> tuple[int, str]:
    """The same in a terminal's place: its status, and what was said."""
    done = subprocess.run(
        [
            sys.executable, "-m", "cookiecutter", str(ROOT),
            "--config-file", str(configuration(tmp_path / "home")),
            "--output-dir", str(tmp_path / "out"),
        ],
        cwd=tmp_path,
        env=environment(PYTHONIOENCODING="utf-8"),
        input=typed(*lines).encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout.decode()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_typed_answers_stay_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    """Name, description and author all hold the text; every file is valid and says it literally."""
    project = answer(monkeypatch, tmp_path, text, "chat_room", text, text)
    assert project == tmp_path / "out" / "chat_room"

    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    assert metadata["project"]["description"] == text
    assert metadata["project"]["authors"] == [{"name": text}]
    assert metadata["tool"].keys() == {"hatch", "uv", "pytest", "mypy", "ruff"}

    static = project / "src" / "chat_room" / "static"
    manifest = json.loads((static / "app.webmanifest").read_text(encoding="utf-8"))
    assert manifest["name"] == text

    readme = (project / "README.md").read_text(encoding="utf-8")
    assert readme.startswith(f"# {text}\n\n{text}\n")
    assert text in (project / "LICENSE").read_text(encoding="utf-8")

    for path in files(project):
        # Those that are copied as they are need no look: see test_bake.
        if path.suffix == ".py" and "fast_channels" not in path.parts:
            ast.parse(path.read_text(encoding="utf-8"))
        if path.suffix in {".yaml", ".yml"}:
            yaml.safe_load(path.read_text(encoding="utf-8"))
    assert run("make", "help", cwd=project).returncode == 0

    # No Python, Makefile, compose file, Dockerfile or pipeline contains a free answer.
    holding = {path.name for path in files(project) if text.encode() in path.read_bytes()}
    assert holding <= {"README.md", "LICENSE", "pyproject.toml", "app.webmanifest"}
    assert list(tmp_path.rglob("pwned")) == []


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_typed_slug_is_never_hostile(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    """The same texts as a slug are refused and leave no file."""
    with pytest.raises(FailedHookException):
        answer(monkeypatch, tmp_path, "Chat", text, "A chat", "Somebody")
    assert capfd.readouterr().err.count("Refused: project_slug") == 1
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []
    assert list(tmp_path.rglob("pwned")) == []


def test_a_built_package_carries_hostile_metadata(tmp_path: Path) -> None:
    """The build backend accepts the rendered metadata. Typed to the command, as a person does."""
    text = f"{HOSTILE['quotes']} {HOSTILE['backslashes']} {HOSTILE['emoji']}"[:80]
    status, said = answer_the_command(tmp_path, text, "chat_room", text, text)
    assert status == 0, said
    built = run("uv", "build", "--wheel", "--quiet", cwd=tmp_path / "out" / "chat_room")
    assert built.returncode == 0, built.stdout
