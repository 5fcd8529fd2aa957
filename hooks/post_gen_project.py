"""Keep what the answers chose, under its final name, and remove the files of every other choice.

Standard library only, no network, no container tool. A missing git is not an error.
"""

import json
import shutil
import subprocess
from pathlib import Path

# tojson leaves no quote or line end unescaped: see pre_gen_project.py.
ANSWERS = json.loads(r'{{ cookiecutter|tojson }}')  # fmt: skip

PACKAGE = f"src/{ANSWERS['project_slug']}"

# answer -> choice -> {path in the template: path in the project}
MANIFEST = {
    "channel_layer": {
        "pubsub": {f"{PACKAGE}/layers_pubsub.py": f"{PACKAGE}/layers.py"},
        "queue": {f"{PACKAGE}/layers_queue.py": f"{PACKAGE}/layers.py"},
    },
    "redis_topology": {
        topology: {
            f"compose.{topology}.yaml": "compose.yaml",
            f"tests/app/broker_{topology}.py": "tests/app/broker.py",
        }
        for topology in ("standalone", "sentinel", "cluster")
    },
    "ci": {
        "github": {
            f".github/workflows/{name}.yml": f".github/workflows/{name}.yml"
            for name in ("ci", "runtime")
        },
        "gitlab": {".gitlab-ci.yml": ".gitlab-ci.yml"},
        "none": {},
    },
    "license": {
        "MIT": {"licenses/MIT": "LICENSE"},
        "BSD-3-Clause": {"licenses/BSD-3-Clause": "LICENSE"},
        "Apache-2.0": {"licenses/Apache-2.0": "LICENSE"},
        "Proprietary": {"licenses/Proprietary": "LICENSE"},
    },
}

# Caches that tools leave in the template's folder when somebody works on it in place.
CACHES = ("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache")


def remove(project, path):
    """Remove what the template brought, then each folder above it that is empty now."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == project or not folder.is_dir() or any(folder.iterdir()):
            break
        folder.rmdir()


def prune(project):
    """Apply the manifest: move what was chosen to its final name, remove every other source.

    Only files named in the manifest are touched: rendering over an existing project must not remove
    what its owner put beside them.
    """
    for answer, choices in MANIFEST.items():
        chosen = choices[ANSWERS[answer]]
        for source, target in chosen.items():
            (project / source).replace(project / target)
        sources = {source for paths in choices.values() for source in paths}
        for source in sorted(sources - set(chosen.values())):
            remove(project, project / source)


def remove_caches(project):
    for name in CACHES:
        nested = [*(project / "src").rglob(name), *(project / "tests").rglob(name)]
        for cache in [project / name, *nested]:
            remove(project, cache)


def start_repository(project):
    """Run ``git init`` unless a repository surrounds the project; failing is fine."""
    try:
        inside = subprocess.run(["git", "rev-parse", "--git-dir"], cwd=project, capture_output=True)
        if inside.returncode != 0:
            init = ["git", "-c", "init.defaultBranch=main", "init", "--quiet"]
            subprocess.run(init, cwd=project, capture_output=True)
    except OSError:
        print("git was not found: run 'git init' yourself when you have it.")


if __name__ == "__main__":
    root = Path.cwd()
    prune(root)
    remove_caches(root)
    start_repository(root)
    print(f"Created {root.name}. Next: cd {root.name} && make dev")
