"""What the generated Makefile does beyond calling a tool: checks, bootstrapping, the secrets."""

import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Shared
from rendering import ROOT, run

COMMANDS = ("dev", "worker", "test", "test-runtime", "lint", "format", "up", "down", "help")
SECRETS = r"SECRET_KEY=[0-9a-f]{48}\nREDIS_PASSWORD=[0-9a-f]{48}\n"  # that make up adds to .env


def fake(folder: Path, name: str, script: str) -> Path:
    """An executable shell script in place of a tool."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


DOCKER = """
case "$*" in
  "compose config"*) echo '{"services": {"web": {"ports": [{"host_ip": "127.0.0.1", "published": "%s"}]}}}' ;;
  "compose port"*) echo 127.0.0.1:8000 ;;
  "compose ps"* | "compose version" | info) ;;
  *) echo "docker $*" ;;
esac
"""


def with_docker(tmp_path: Path, script: str | None = None) -> dict[str, str]:
    """A PATH on which docker is a script: by default one that works, and says what it was to start."""
    tools = fake(tmp_path / "tools", "docker", script or DOCKER % "0").parent
    return {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}


def complaint(*command: str, cwd: Path, env: dict[str, str] | None = None) -> list[str]:
    """What is said by a command that must fail, without make's own lines."""
    done = run(*command, cwd=cwd, env=env)
    assert done.returncode != 0, done.stdout
    return [line for line in done.stdout.splitlines() if not line.startswith("make")]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_up_ends_with_the_address(project: Path, tmp_path: Path) -> None:
    """Whoever has waited for the containers is told where to look."""
    done = run("make", "up", cwd=project, env=with_docker(tmp_path))
    assert done.stdout.splitlines()[-1] == "Open http://127.0.0.1:8000"


def test_a_line_of_env_without_an_end_is_kept(project: Path, tmp_path: Path) -> None:
    """What is added goes on lines of its own."""
    (project / ".env").write_text("LOG_LEVEL=DEBUG")
    assert run("make", "up", cwd=project, env=with_docker(tmp_path)).returncode == 0
    text = (project / ".env").read_text()
    assert re.fullmatch(r"LOG_LEVEL=DEBUG\n" + SECRETS, text)


@pytest.mark.parametrize("port", ["taken", "0x", "65536"])
def test_a_port_that_cannot_be_had_is_one_sentence(rendered: Path, taken: int, port: str) -> None:
    """Before anything is installed, for dev and for what calls it."""
    number = str(taken) if port == "taken" else port
    (said,) = complaint("make", "dev", f"PORT={number}", cwd=rendered)
    assert said.startswith(f"Port {number} of 127.0.0.1 cannot be used (")
    assert said.endswith("; name another, as in PORT=8001.")


def test_a_taken_port_of_the_containers_is_one_sentence(
    project: Path, tmp_path: Path, taken: int
) -> None:
    """Also when it is not the first of the range."""
    env = with_docker(tmp_path, DOCKER % f"{taken - 1}-{taken}")
    said = complaint("make", "up", cwd=project, env=env)
    assert len(said) == 1
    assert said[0].endswith("; name others, as in WEB_PORTS=8100-8101.")


@pytest.mark.parametrize("target", ["up", "down"])
@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("[ $1 != info ]", "Docker does not answer: start it, or name its socket in DOCKER_HOST"),
        ("[ $1 != compose ]", "This needs Compose, which this docker lacks: install its plugin"),
    ],
    ids=["asleep", "without Compose"],
)
def test_a_docker_that_cannot_be_used_is_one_sentence(
    rendered: Path, tmp_path: Path, target: str, script: str, sentence: str
) -> None:
    """It says what to do, and what works without."""
    said = complaint("make", target, cwd=rendered, env=with_docker(tmp_path, script))
    assert said == [f"{sentence}; make dev works without."]


def test_a_missing_docker_is_one_sentence(rendered: Path, bare_path: Path) -> None:
    """It is looked for before a password is written."""
    said = complaint("make", "up", cwd=rendered, env={"PATH": str(bare_path)})
    assert said == [
        "This needs Docker with Compose, and there is no docker on PATH; make dev works without."
    ]
    assert not (rendered / ".env").exists()


def test_help_lists_every_command(rendered: Path) -> None:
    """Plain make explains the commands, in the project and in the template."""
    for folder, commands in (
        (rendered, COMMANDS),
        (ROOT, ("demo", "test", "lint", "docs", "lock", "help")),
    ):
        shown = run("make", cwd=folder)
        assert shown.returncode == 0, shown.stdout
        assert [name for name in commands if f"make {name} " not in shown.stdout] == []


@pytest.mark.parametrize(
    ("target", "arguments", "command"),
    [
        ("test", "", "pytest -n 4 --ignore tests/fast_channels"),
        ("test", "-k chat", "pytest -n 4 --ignore tests/fast_channels -k chat"),
        ("test", "tests/app/test_x.py", "pytest --ignore tests/fast_channels tests/app/test_x.py"),
        ("test", "tests/fast_channels/unit", "pytest -n 4 tests/fast_channels/unit"),
        ("test-runtime", "", "pytest -n 4 --dist worksteal tests/fast_channels"),
        ("test-runtime", "-k group", "pytest -n 4 --dist worksteal tests/fast_channels -k group"),
        (
            "test-runtime",
            "tests/fast_channels/unit",
            "pytest -n 4 --dist worksteal tests/fast_channels/unit",
        ),
    ],
)
def test_the_apps_tests_and_the_runtimes(
    rendered: Path, target: str, arguments: str, command: str
) -> None:
    """Each has its command; a file of the app's is run at once, without processes beside it."""
    shown = run("make", "--dry-run", target, f"ARGS={arguments}", cwd=rendered)
    assert " ".join(shown.stdout.splitlines()[-1].split()) == f"uv run --locked {command}"


@pytest.mark.parametrize("folder", ["project", "template"])
def test_an_old_python_is_one_sentence(rendered: Path, folder: str) -> None:
    """Whoever has no recent enough Python is told so, before anything else happens."""
    where, target = (rendered, "dev") if folder == "project" else (ROOT, "demo")
    done = run("make", "--silent", target, "PYTHON=false", cwd=where)
    assert done.returncode != 0
    sentences = [line for line in done.stdout.splitlines() if not line.startswith("make")]
    assert sentences == [
        "Python 3.11 or later is needed as false; name another: make PYTHON=python3.12"
    ]


def test_up_writes_the_secrets_once(project: Path, tmp_path: Path) -> None:
    """The first start makes random ones that only their owner can read; the next one keeps them."""
    env = with_docker(tmp_path)
    done = run("make", "up", cwd=project, env=env)
    assert done.returncode == 0, done.stdout
    assert "docker compose up --wait --build" in done.stdout
    secret = (project / ".env").read_text()
    assert re.fullmatch(SECRETS, secret)
    assert (project / ".env").stat().st_mode & 0o777 == 0o600
    assert not any(line.partition("=")[2] in done.stdout for line in secret.splitlines())
    assert run("make", "up", cwd=project, env=env).returncode == 0
    assert (project / ".env").read_text() == secret
    assert run("git", "status", "--porcelain", "--", ".env", cwd=project).stdout == ""


def test_up_completes_a_copied_example(project: Path, tmp_path: Path) -> None:
    """A .env without secrets keeps its lines and gets them at its end, where they count."""
    example = (project / ".env.example").read_text(encoding="utf-8")
    (project / ".env").write_text(example, encoding="utf-8")
    assert run("make", "up", cwd=project, env=with_docker(tmp_path)).returncode == 0
    text = (project / ".env").read_text(encoding="utf-8")
    assert text.startswith(example)
    assert re.fullmatch(SECRETS, text.removeprefix(example))


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A folder for PATH with the shell's basics and Python, but without uv."""
    folder = tmp_path / "bare"
    for name in ("sh", "bash", "make", "python3", "env", "git", "dirname", "basename", "cat"):
        found = shutil.which(name)
        if found:
            fake(folder, name, f'exec "{found}" "$@"')
    return folder


def test_uv_is_installed_where_there_is_none(
    project: Path, shared: Shared, bare_path: Path
) -> None:
    """Without uv on PATH the project fetches it into .tools with pip, and then uses it."""
    env = shared(project) | {"PATH": str(bare_path)}
    done = run("make", "test", "ARGS=--version", cwd=project, env=env)
    assert done.returncode == 0, done.stdout
    assert "Installing uv into .tools" in done.stdout
    assert (project / ".tools" / "bin" / "uv").is_file()
    assert "pytest" in done.stdout.splitlines()[-1]


def test_a_python_without_venv_is_one_sentence(rendered: Path, bare_path: Path) -> None:
    """Debian's python3 comes without it; the sentence names the package."""
    python = f'case "$*" in *ensurepip*) exit 1 ;; esac; exec "{shutil.which("python3")}" "$@"'
    fake(bare_path, "python3", python)
    done = run("make", "--silent", "dev", cwd=rendered, env={"PATH": str(bare_path)})
    assert done.returncode != 0
    sentences = [line for line in done.stdout.splitlines() if not line.startswith("make")]
    assert sentences == [
        "python3 lacks venv: install it (Debian, Ubuntu: apt install python3-venv) or uv."
    ]
