"""The answers that change files only: CI and licence."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Render
from rendering import files, texts

PIPELINES = {
    "github": {".github/workflows/ci.yml", ".github/workflows/runtime.yml"},
    "gitlab": {".gitlab-ci.yml"},
    "none": set[str](),
}

# Each pipeline and each licence, the name of an author and one from which the slug is made.
TOGETHER = {
    "MIT": "github",
    "BSD-3-Clause": "gitlab",
    "Apache-2.0": "none",
    "Proprietary": "github",
}
AUTHOR = "Ada & Co <ada@example.org>"
NAME = "Ünïversal Chät 2"

# What the runtime's tests depend on, but for their Python.
RUNTIME = ("src/fast_channels/**", "tests/fast_channels/**", "uv.lock")
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]

# Words that only this licence has, and what pyproject.toml calls it (SPDX).
LICENSES = {
    "MIT": ("Permission is hereby granted, free of charge", "MIT"),
    "BSD-3-Clause": ("Neither the name of the copyright holder", "BSD-3-Clause"),
    "Apache-2.0": ("Grant of Patent License", "Apache-2.0"),
    "Proprietary": ("No permission to use", "LicenseRef-Proprietary"),
}


def project_with(render: Render, license_: str) -> Path:
    return render(license=license_, ci=TOGETHER[license_], author_name=AUTHOR, project_name=NAME)


def of(render: Render, ci: str) -> Path:
    """A project with that pipeline."""
    return project_with(render, next(name for name in TOGETHER if TOGETHER[name] == ci))


def present(project: Path) -> set[str]:
    return {path.relative_to(project).as_posix() for path in files(project)}


@pytest.mark.parametrize("ci", PIPELINES)
def test_ci_brings_its_pipeline_only(render: Render, ci: str) -> None:
    """The chosen pipeline is there; no file or word of another one is."""
    project = of(render, ci)
    assert present(project) & set().union(*PIPELINES.values()) == PIPELINES[ci]
    readme = (project / "README.md").read_text(encoding="utf-8")
    assert (".github" in readme, ".gitlab" in readme) == (ci == "github", ci == "gitlab")
    assert (project / ".github").exists() == (ci == "github")


def loaded(project: Path, name: str) -> dict[Any, Any]:
    """A pipeline as YAML reads it, which takes the key ``on`` for True."""
    return dict(yaml.safe_load((project / name).read_text(encoding="utf-8")))


def test_github_runs_what_a_push_may_have_broken(render: Render) -> None:
    """The app always; the runtime when it or the lock has changed; at night all Pythons, all tests."""
    project = of(render, "github")
    app, runtime = (loaded(project, f".github/workflows/{name}.yml") for name in ("ci", "runtime"))
    assert app[True] == {"push": {"branches": ["main"]}, "pull_request": None}
    steps = [step.get("run") for step in app["jobs"]["test"]["steps"]]
    assert [step for step in steps if step and step.startswith("make")] == [
        "make lint",
        "make test",
    ]

    assert runtime[True].keys() == {"push", "pull_request", "schedule", "workflow_dispatch"}
    assert runtime[True]["push"] == {"branches": ["main"], "paths": [*RUNTIME]}
    assert runtime[True]["pull_request"] == {"paths": [*RUNTIME]}
    job = runtime["jobs"]["test"]
    nights, others = re.findall(r"'(\[\"3.*?\])'", job["strategy"]["matrix"]["python"])
    assert (json.loads(nights), json.loads(others)) == (PYTHONS, ["3.13"])
    made = {step["run"]: step.get("if") for step in job["steps"] if "make" in step.get("run", "")}
    assert made == {"make lint test": "matrix.python != '3.13'", "make test-runtime": None}


def test_gitlab_runs_what_a_push_may_have_broken(render: Render) -> None:
    """The app always; the runtime when it or the lock has changed; in a schedule all of both."""
    pipeline = loaded(of(render, "gitlab"), ".gitlab-ci.yml")
    by_hand = '$CI_PIPELINE_SOURCE == "schedule" || $CI_PIPELINE_SOURCE == "web"'
    on_push = '$CI_PIPELINE_SOURCE != "schedule" && $CI_PIPELINE_SOURCE != "web"'
    assert pipeline["test"] == {"rules": [{"if": on_push}], "script": ["make lint", "make test"]}
    changes = [f"{path}/*" if path.endswith("**") else path for path in RUNTIME]
    assert pipeline["runtime"] == {
        "rules": [{"if": on_push, "changes": changes}],
        "script": ["make test-runtime"],
    }
    assert pipeline["every-python"] == {
        "rules": [{"if": by_hand}],
        "parallel": {"matrix": [{"PYTHON_VERSION": PYTHONS}]},
        "script": ["make lint test test-runtime"],
    }
    assert pipeline["variables"]["PYTHON_VERSION"] == "3.13"
    assert {"if": by_hand} in pipeline["workflow"]["rules"]


def test_github_expressions_survive(render: Render) -> None:
    """GitHub's own double braces are not taken for Jinja."""
    pipeline = of(render, "github") / ".github" / "workflows" / "runtime.yml"
    assert "${{ matrix.python }}" in pipeline.read_text(encoding="utf-8")


@pytest.mark.parametrize("license_", LICENSES)
def test_license_text_and_metadata_agree(render: Render, license_: str) -> None:
    """LICENSE holds the chosen text with the author's name; pyproject.toml names it by SPDX."""
    project = project_with(render, license_)
    words, spdx = LICENSES[license_]
    text = (project / "LICENSE").read_text(encoding="utf-8")
    assert [name for name, (theirs, _) in LICENSES.items() if theirs in text] == [license_]
    assert AUTHOR in text
    assert words in text
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata["license"] == spdx
    assert f"{license_}: see `LICENSE`" in (project / "README.md").read_text(encoding="utf-8")


def test_no_year_in_the_license(render: Render) -> None:
    """The text does not depend on the day of generation."""
    text = (project_with(render, "MIT") / "LICENSE").read_text(encoding="utf-8")
    assert not re.search(r"\b20\d\d\b", text)


def test_the_name_is_derived_and_used(render: Render) -> None:
    """The slug comes from the name; folder, package and distribution follow it."""
    project = project_with(render, "MIT")
    assert project.name == "universal_chat_2"
    assert (project / "src" / "universal_chat_2" / "static").is_dir()
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    assert metadata["project"]["name"] == "universal-chat-2"
    assert dict(texts(project))["README.md"].startswith(f"# {NAME}\n")
