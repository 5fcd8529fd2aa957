"""The ways in which people call cookiecutter: plain, into a folder, again with the same answers."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from rendering import ROOT, configuration, files, run, scratch_repository


@pytest.fixture
def cookiecutter(tmp_path: Path) -> list[str]:
    """The command with its replay files in this test's folder."""
    config = configuration(tmp_path / "home")
    return [sys.executable, "-m", "cookiecutter", str(ROOT), "--config-file", str(config)]


def contents(project: Path) -> dict[str, bytes]:
    return {path.relative_to(project).as_posix(): path.read_bytes() for path in files(project)}


def test_no_input_takes_the_defaults(tmp_path: Path, cookiecutter: list[str]) -> None:
    """Without questions the default variant lands in the current folder."""
    done = run(*cookiecutter, "--no-input", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "my_chat" / "compose.yaml").is_file()


def test_answers_and_their_replay(tmp_path: Path, cookiecutter: list[str]) -> None:
    """key=value answers a question, -o names the folder, and one line says what comes next. --replay
    renders the last answers again, to the byte.
    """
    answers = ("project_name=Ask Me", "channel_layer=pubsub", "redis_topology=sentinel", "ci=none")
    first = run(*cookiecutter, "--no-input", "-o", "deep/er", *answers, cwd=tmp_path)
    assert first.returncode == 0, first.stdout
    assert first.stdout == "Created ask_me. Next: cd ask_me && make dev\n"
    project = tmp_path / "deep" / "er" / "ask_me"
    layers = project / "src" / "ask_me" / "layers.py"
    assert "PubSub" in layers.read_text(encoding="utf-8")
    second = run(*cookiecutter, "--replay", "-o", "two", cwd=tmp_path)
    assert second.returncode == 0, second.stdout
    assert contents(tmp_path / "two" / "ask_me") == contents(project)


def test_a_replay_with_an_unknown_choice_is_refused(
    rendered: Path, tmp_path: Path, cookiecutter: list[str]
) -> None:
    """Answers of another version of the template end in a sentence, not in half a project."""
    home = rendered.parent.parent / f"{rendered.parent.name}-home"
    shutil.copytree(home / "replay", tmp_path / "home" / "replay")
    (replay,) = (tmp_path / "home" / "replay").glob("*.json")
    answers = json.loads(replay.read_text(encoding="utf-8"))
    answers["cookiecutter"]["redis_topology"] = "mesh"
    replay.write_text(json.dumps(answers), encoding="utf-8")
    done = run(*cookiecutter, "--replay", "-o", "two", cwd=tmp_path)
    assert done.returncode == 1
    assert "redis_topology must be one of standalone, sentinel, cluster, not 'mesh'." in done.stdout
    assert not (tmp_path / "two" / "my_chat").exists()


def test_an_unknown_choice_is_refused(tmp_path: Path, cookiecutter: list[str]) -> None:
    """cookiecutter itself names the choices."""
    done = run(*cookiecutter, "--no-input", "channel_layer=carrier-pigeon", cwd=tmp_path)
    assert done.returncode != 0
    assert "pubsub" in done.stdout
    assert not (tmp_path / "my_chat").exists()


def test_a_clone_renders(rendered: Path, tmp_path: Path, cookiecutter: list[str]) -> None:
    """What git would hold is enough: nothing that the template needs is ignored or left out."""
    git = scratch_repository(tmp_path / "origin")
    commit = ["-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "--message", "All"]
    for command in (["add", "--all"], commit):
        done = run(*git, *command, cwd=ROOT)
        assert done.returncode == 0, done.stdout
    cookiecutter[cookiecutter.index(str(ROOT))] = f"git+{(tmp_path / 'origin').as_uri()}"
    done = run(*cookiecutter, "--no-input", "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert contents(tmp_path / "out" / "my_chat").keys() == contents(rendered).keys()
