"""Every channel layer on every topology: strictly rendered, and clean."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import yaml

from conftest import Render
from rendering import TEMPLATE, files, run, texts

Variant = tuple[str, str, Path]

# The name sorts before all packages, between them, and after; the longest.
SLUGS = ("a", "my_chat", f"z2_{'z' * 37}")

# Folders that are copied without rendering.
VERBATIM = ("src", "tests/fast_channels")

# The files that tell the variants apart.
DIFFERING = {
    ".env.example",
    "README.md",
    "compose.yaml",
    "src/my_chat/layers.py",
    "tests/app/broker.py",
}

# Names of the template's own files that a finished project has under another name or not at all.
TEMPLATE_ONLY = (
    "compose.standalone.yaml",
    "compose.sentinel.yaml",
    "compose.cluster.yaml",
    "licenses",
)

# Topology -> the services that are Redis', and how the app's address of them begins.
REDIS_SERVICES = {
    "standalone": {"redis"},
    "sentinel": {f"{kind}-{n}" for kind in ("redis", "sentinel") for n in (1, 2, 3)},
    "cluster": {f"redis-{n}" for n in range(1, 7)} | {"introducer"},
}
REDIS_SCHEMES = {
    "standalone": "redis://",
    "sentinel": "redis+sentinel://",
    "cluster": "redis+cluster://",
}


def test_no_jinja_is_left(variant: Variant) -> None:
    """Neither an expression, a statement, a comment nor a file name of the template remains."""
    project = variant[-1]
    leftovers = [
        (name, match[0])
        for name, text in texts(project)
        for match in re.finditer(r"\{\{-?\s*cookiecutter.*|\{%.*|\{#.*", f"{name}\n{text}")
    ]
    assert leftovers == []


def test_sources_are_copied_as_they_are(variant: Variant) -> None:
    """Nothing of the sources and of the runtime's tests is rendered, whatever braces they hold.

    But for the web app manifest, which holds the project's name.
    """
    layer, _, project = variant
    for path in chain.from_iterable(files(project / folder) for folder in VERBATIM):
        name = path.relative_to(project).as_posix()
        if path.suffix == ".webmanifest":
            continue
        original = TEMPLATE / name.replace("src/my_chat", f"src/{TEMPLATE.name}")
        if path.name == "layers.py":
            original = original.with_name(f"layers_{layer}.py")
        assert path.read_bytes() == original.read_bytes(), name


def test_every_line_ends_with_lf(variant: Variant) -> None:
    """No CR anywhere, and the last line of a file ends too."""
    bad = [name for name, text in texts(variant[-1]) if "\r" in text or text[-1:] not in {"\n", ""}]
    assert bad == []


def test_no_line_has_trailing_blanks(variant: Variant) -> None:
    """Jinja blocks leave no blanks behind and no runs of empty lines."""
    bad = [
        name
        for name, text in texts(variant[-1])
        if re.search(r"[ \t]\n", text) or ("\n\n\n\n" in text) or text.startswith("\n")
    ]
    assert bad == []


def test_no_folder_is_empty(variant: Variant) -> None:
    """Pruning removes the folders that it emptied."""
    folders = [
        path for path in variant[-1].rglob("*") if path.is_dir() and ".git" not in path.parts
    ]
    assert [folder for folder in folders if not any(folder.iterdir())] == []


def test_no_file_of_the_template_is_left(variant: Variant) -> None:
    """What was chosen has its final name; what was not is gone."""
    project = variant[-1]
    assert [name for name in TEMPLATE_ONLY if (project / name).exists()] == []
    assert list(project.glob("src/*/layers_*.py")) == []
    assert list(project.glob("tests/app/broker_*.py")) == []
    assert (project / "src/my_chat/layers.py").is_file()
    assert (project / "compose.yaml").is_file()
    assert (project / "LICENSE").is_file()


def test_no_secret_is_generated(variant: Variant) -> None:
    """A password is made at the first start, in a file that git ignores."""
    project = variant[-1]
    assert not (project / ".env").exists()
    assert ".env" in (project / ".gitignore").read_text().splitlines()


def test_configuration_parses(variant: Variant) -> None:
    """Each TOML and YAML file is valid."""
    for path in files(variant[-1]):
        if path.suffix == ".toml" or path.name == "uv.lock":
            tomllib.loads(path.read_text(encoding="utf-8"))
        if path.suffix in {".yaml", ".yml"}:
            yaml.safe_load(path.read_text(encoding="utf-8"))


def test_compose_runs_the_chosen_redis(variant: Variant) -> None:
    """Web and worker get its address and wait until it is healthy; only the web's port is published."""
    _, topology, project = variant
    services = yaml.safe_load((project / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert services.keys() == {"web", "worker"} | REDIS_SERVICES[topology]
    assert [name for name in services if "ports" in services[name]] == ["web"]
    for name in ("web", "worker"):
        url = services[name]["environment"]["REDIS_URL"]
        conditions = services[name]["depends_on"]
        assert url.startswith(REDIS_SCHEMES[topology])
        assert all(host in url for host in conditions)
        assert conditions.keys() < services.keys()
        assert {condition["condition"] for condition in conditions.values()} == {"service_healthy"}
        assert all("healthcheck" in services[waited_for] for waited_for in conditions)


def test_every_container_is_bounded(variant: Variant) -> None:
    """In memory and processes; Redis below its container's memory, and it drops nothing for room."""
    text = (variant[-1] / "compose.yaml").read_text(encoding="utf-8")
    services = yaml.safe_load(text)["services"]
    for name, service in services.items():
        assert (service["mem_limit"], service["pids_limit"]) == ("512m", 200), name
    assert text.count("maxmemory 256mb\n") == text.count("maxmemory-policy noeviction\n") == 1


def test_one_image_is_built_once(variant: Variant) -> None:
    """By web; the worker runs it."""
    path = variant[-1] / "compose.yaml"
    services = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]
    assert [name for name, service in services.items() if "build" in service] == ["web"]
    assert services["worker"]["image"] == services["web"]["image"] == "my-chat"
    assert services["worker"]["pull_policy"] == "never"


def test_redis_is_on_a_network_of_its_own(variant: Variant) -> None:
    """Which leads nowhere else; only the app's containers are on it too."""
    compose = yaml.safe_load((variant[-1] / "compose.yaml").read_text(encoding="utf-8"))
    assert compose["networks"] == {"redis": {"internal": True}}
    for name, service in compose["services"].items():
        assert service["networks"] == (
            ["default", "redis"] if name in {"web", "worker"} else ["redis"]
        )


def test_actions_are_pinned(variant: Variant) -> None:
    """By commit, with the version that it is beside it."""
    workflows = variant[-1] / ".github" / "workflows"
    for name in ("ci.yml", "runtime.yml"):
        used = re.findall(r"uses: (.*)", (workflows / name).read_text(encoding="utf-8"))
        assert len(used) == 3
        pinned = re.compile(r"\S+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
        assert [one for one in used if not pinned.fullmatch(one)] == []


def test_says_only_what_applies(variant: Variant) -> None:
    """README, compose file and settings example do not speak of what was not chosen."""
    layer, topology, project = variant
    told = {
        name: (project / name).read_text(encoding="utf-8").lower()
        for name in ("README.md", "compose.yaml", ".env.example")
    }
    for name, text in told.items():
        assert ("sentinel" in text) == (topology == "sentinel"), name
        assert ("cluster" in text) == (topology == "cluster"), name
        assert set(re.findall(r"\bredis(?:\+[a-z]+)?://", text)) == {REDIS_SCHEMES[topology]}, name
    assert ("`redispubsubchannellayer`" in told["README.md"]) == (layer == "pubsub")
    assert ("pub/sub" in told["README.md"]) == (layer == "pubsub")
    assert "gitlab" not in told["README.md"], "the default is GitHub"


def test_every_setting_is_explained(variant: Variant) -> None:
    """README and .env.example name each variable that the application reads."""
    project = variant[-1]
    source = (project / "src/my_chat/settings.py").read_text(encoding="utf-8")
    names = [name.upper() for name in re.findall(r"^    ([a-z_]+): ", source, re.MULTILINE)]
    assert len(names) > 4
    for document in ("README.md", ".env.example"):
        text = (project / document).read_text(encoding="utf-8")
        assert [name for name in names if name not in text] == [], document


def test_only_answers_differ_between_variants(variants: dict[tuple[str, str], Path]) -> None:
    """The lock, the page and all Python but layers.py are the same; a few files tell them apart."""
    first, *others = variants.values()
    content = {path.relative_to(first): path.read_bytes() for path in files(first)}
    for other in others:
        theirs = {path.relative_to(other): path.read_bytes() for path in files(other)}
        differing = {str(name) for name in content if content[name] != theirs.get(name)}
        assert content.keys() == theirs.keys()
        assert differing <= DIFFERING


@pytest.mark.parametrize("slug", SLUGS)
def test_the_lock_fits_any_slug(render: Render, slug: str) -> None:
    """The lock is valid wherever the project's own name sorts, and knows the default index only."""
    project = render(project_slug=slug)
    checked = run("uv", "lock", "--check", cwd=project)
    assert checked.returncode == 0, checked.stdout
    lock = tomllib.loads((project / "uv.lock").read_text(encoding="utf-8"))
    names = [package["name"] for package in lock["package"]]
    assert slug.replace("_", "-") in names
    sources = [package["source"] for package in lock["package"]]
    assert [source for source in sources if "registry" not in source] == [{"editable": "."}]
    (index,) = {source["registry"] for source in sources if "registry" in source}
    assert re.fullmatch(r"https://[a-z]+\.[a-z]+/simple", index), "a mirror of one machine"


@pytest.mark.parametrize("slug", SLUGS)
def test_style_is_clean_for_any_slug(render: Render, slug: str) -> None:
    """Neither the order of imports nor the length of a line depends on the package's name."""
    project = render(project_slug=slug)
    for command in (["check"], ["format", "--check"]):
        checked = run("ruff", *command, "--no-cache", cwd=project)
        assert checked.returncode == 0, checked.stdout
