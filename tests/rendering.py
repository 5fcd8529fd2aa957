"""Render the template and run commands in what came out, away from the user's own settings."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

import yaml
from cookiecutter.main import cookiecutter

import progress

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"

# What an enclosing make or uv run says to its children and these must not hear.
INHERITED = (
    "VIRTUAL_ENV",
    "UV_PROJECT_ENVIRONMENT",
    "MAKEFLAGS",
    "MFLAGS",
    "MAKELEVEL",
    "PYTHONPATH",
    "PYTHONDONTWRITEBYTECODE",
)


def environment(**changes: str) -> dict[str, str]:
    """The environment of a fresh shell in the rendered project, with ``changes`` on top."""
    kept = {name: value for name, value in os.environ.items() if name not in INHERITED}
    return kept | changes


def environment_of(installed: Path, project: Path) -> dict[str, str]:
    """Variables with which uv runs commands of `project` in the environment of `installed`.

    Nothing is installed for it; the project's own sources come first.
    """
    if project == installed:
        return {}
    return {
        "UV_PROJECT_ENVIRONMENT": str(installed / ".venv"),
        "UV_NO_SYNC": "1",
        "PYTHONPATH": str(project / "src"),
    }


def share_bytecode(installed: Path, project: Path) -> None:
    """Give `project` what was compiled of the same files in `installed`.

    Python takes it for that of a file of the same size and time, so each gets the time too, and none does
    whose bytes differ.
    """
    for compiled in chain.from_iterable(
        (installed / folder).glob("**/__pycache__/*.pyc") for folder in ("src", "tests")
    ):
        source = compiled.parents[1] / f"{compiled.name.partition('.')[0]}.py"
        twin = project / source.relative_to(installed)
        if twin.is_file() and twin.read_bytes() == source.read_bytes():
            shutil.copystat(source, twin)
            (twin.parent / "__pycache__").mkdir(exist_ok=True)
            shutil.copy2(compiled, twin.parent / "__pycache__")


def configuration(home: Path) -> Path:
    """A cookiecutter configuration that keeps replay files and clones under ``home``."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / "cookiecutter.yaml"
    folders = {"replay_dir": str(home / "replay"), "cookiecutters_dir": str(home / "clones")}
    path.write_text(yaml.safe_dump(folders), encoding="utf-8")
    return path


def render(
    output: Path,
    answers: Mapping[str, str] | None = None,
    *,
    prompts: bool = False,
    overwrite: bool = False,
) -> Path:
    """Render into a folder of ``output``; every other answer is the default, or typed at its prompt."""
    project = cookiecutter(
        str(ROOT),
        no_input=not prompts,
        overwrite_if_exists=overwrite,
        extra_context=dict(answers or {}),
        output_dir=str(output),
        config_file=str(configuration(output.parent / f"{output.name}-home")),
    )
    return Path(project)


def render_in(
    environment: Mapping[str, str], output: Path, answers: Mapping[str, str] | None = None
) -> tuple[Path, str]:
    """As `render`, by the command, with these variables; the project, and what was said.

    Tests do not change their own process's: long work of others is started from it meanwhile.
    """
    done = run(
        sys.executable,
        "-m",
        "cookiecutter",
        str(ROOT),
        "--no-input",
        *("--config-file", str(configuration(output.parent / f"{output.name}-home"))),
        *("--output-dir", str(output)),
        *(f"{name}={answer}" for name, answer in (answers or {}).items()),
        cwd=output.parent,
        env=environment,
    )
    assert done.returncode == 0, done.stdout
    (project,) = output.iterdir()
    return project, done.stdout


def run(
    *command: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout: float = 580,
    running: set[subprocess.Popen[bytes]] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run to the end and return what was printed, errors included, without judging the status.

    While it runs its process is in ``running``, so that another thread can end it.
    """
    running = set() if running is None else running
    with tempfile.NamedTemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        progress.outputs[Path(output.name)] = threading.get_ident()
        try:
            with subprocess.Popen(
                command,
                cwd=cwd,
                env=environment(**(env or {})),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            ) as process:
                running.add(process)
                try:
                    status = process.wait(timeout)
                finally:
                    running.discard(process)
                    process.kill()
        finally:
            del progress.outputs[Path(output.name)]
        output.seek(0)
        return subprocess.CompletedProcess(command, status, output.read())


def scratch_repository(folder: Path) -> list[str]:
    """A git command whose repository is in ``folder`` and whose files are the template's.

    It sees what a commit of the template as it stands would hold, also where that is no repository.
    """
    done = run("git", "init", "--quiet", str(folder), cwd=ROOT)
    assert done.returncode == 0, done.stdout
    return ["git", f"--git-dir={folder / '.git'}", f"--work-tree={ROOT}"]


def files(project: Path) -> Iterator[Path]:
    """The files of a project as it was generated, in a stable order, without git's own."""
    for path in sorted(project.rglob("*")):
        if path.is_file() and ".git" not in path.relative_to(project).parts:
            yield path


def texts(project: Path) -> Iterator[tuple[str, str]]:
    """Relative name and content of every text file; pictures are left out."""
    for path in files(project):
        if path.suffix not in {".png", ".ico", ".woff2"}:
            with path.open(encoding="utf-8", newline="") as file:  # keeps line ends as they are
                yield path.relative_to(project).as_posix(), file.read()
