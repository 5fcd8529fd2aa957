"""The answers that change files only: CI and licence, one at a time."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from conftest import Render
from rendering import files, texts

PIPELINES = {
    "github": ".github/workflows/ci.yml",
    "gitlab": ".gitlab-ci.yml",
}

# Words that only this licence has, and what pyproject.toml calls it (SPDX).
LICENSES = {
    "MIT": ("Permission is hereby granted, free of charge", "MIT"),
    "BSD-3-Clause": ("Neither the name of the copyright holder", "BSD-3-Clause"),
    "Apache-2.0": ("Grant of Patent License", "Apache-2.0"),
    "Proprietary": ("No permission to use", "LicenseRef-Proprietary"),
}


def present(project: Path) -> set[str]:
    return {path.relative_to(project).as_posix() for path in files(project)}


@pytest.mark.parametrize("ci", ["github", "gitlab", "none"])
def test_ci_brings_its_pipeline_only(render: Render, ci: str) -> None:
    """The chosen pipeline is there and runs lint and tests; no other file or word of one is."""
    project = render(ci=ci)
    assert present(project) & set(PIPELINES.values()) == (
        {PIPELINES[ci]} if ci in PIPELINES else set()
    )
    readme = (project / "README.md").read_text(encoding="utf-8")
    assert (".github" in readme, ".gitlab" in readme) == (ci == "github", ci == "gitlab")
    if ci == "none":
        assert not (project / ".github").exists()
    else:
        pipeline = (project / PIPELINES[ci]).read_text(encoding="utf-8")
        assert yaml.safe_load(pipeline)
        assert "make lint" in pipeline
        assert "make test" in pipeline


def test_github_expressions_survive(render: Render) -> None:
    """GitHub's own double braces are not taken for Jinja."""
    pipeline = render(ci="github") / PIPELINES["github"]
    assert "${{ matrix.python }}" in pipeline.read_text(encoding="utf-8")


@pytest.mark.parametrize("license_", LICENSES)
def test_license_text_and_metadata_agree(render: Render, license_: str) -> None:
    """LICENSE holds the chosen text with the author's name; pyproject.toml names it by SPDX."""
    project = render(license=license_, author_name="Ada & Co <ada@example.org>")
    words, spdx = LICENSES[license_]
    text = (project / "LICENSE").read_text(encoding="utf-8")
    assert [name for name, (theirs, _) in LICENSES.items() if theirs in text] == [license_]
    assert "Ada & Co <ada@example.org>" in text
    assert words in text
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata["license"] == spdx
    assert f"{license_}: see `LICENSE`" in (project / "README.md").read_text(encoding="utf-8")


def test_no_year_in_the_license(render: Render) -> None:
    """The text does not depend on the day of generation."""
    text = (render(license="MIT") / "LICENSE").read_text(encoding="utf-8")
    assert not re.search(r"\b20\d\d\b", text)


def test_the_name_is_derived_and_used(render: Render) -> None:
    """The slug comes from the name; folder, package and distribution follow it."""
    project = render(project_name="Ünïversal Chät 2")
    assert project.name == "universal_chat_2"
    assert (project / "src" / "universal_chat_2" / "static").is_dir()
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    assert metadata["project"]["name"] == "universal-chat-2"
    assert dict(texts(project))["README.md"].startswith("# Ünïversal Chät 2\n")
