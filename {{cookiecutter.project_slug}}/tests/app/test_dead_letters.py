"""The command that looks after jobs that failed for good."""

import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fast_channels.layers import Depth, InspectableWorkQueue

from {{ cookiecutter.project_slug }}.dead_letters import parse
from {{ cookiecutter.project_slug }}.layers import make_layers
from {{ cookiecutter.project_slug }}.settings import Settings

from .broker import Broker
from .processes import PACKAGE, START_SECONDS, environment

UNREACHABLE = "redis://127.0.0.1:1/0"  # port 1 is nobody's


class Command:
    """Runs the command with these settings."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.environment = environment(settings)

    def run(self, *arguments: str, status: int = 0) -> tuple[str, str]:
        """What it said on stdout and on stderr; it must end with this status."""
        result = subprocess.run(
            [sys.executable, "-m", f"{PACKAGE}.dead_letters", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
        )
        assert "Traceback" not in result.stderr
        assert result.returncode == status, result.stderr
        return result.stdout, result.stderr


@pytest.fixture
def name() -> str:
    return f"letters-{uuid.uuid4().hex[:8]}"


@pytest.fixture
async def jobs(broker: Broker, name: str) -> AsyncIterator[InspectableWorkQueue]:
    """The app's queue of jobs, as another process has it."""
    async with make_layers(Settings(redis_url=broker.url, app_name=name))["jobs"] as layer:
        assert isinstance(layer, InspectableWorkQueue)
        for number in range(3):
            await layer.send("jobs", {"type": "job.run", "number": number})
            (delivery,) = await layer.lease("jobs")
            await layer.reject(delivery, final=True, reason=f"bad {number}\n\x1b[2J")
        yield layer


@pytest.fixture
def command(broker: Broker, name: str, tmp_path: Path) -> Command:
    return Command(tmp_path, REDIS_URL=broker.url, APP_NAME=name)


async def test_list_shows_each_letter_in_a_line(
    command: Command, jobs: InspectableWorkQueue
) -> None:
    """Also without a command; what a terminal would obey is not printed."""
    ids = [letter.id for letter in await jobs.dead_letters("jobs")]
    said, note = command.run()
    lines = said.splitlines()
    assert [line.split()[0] for line in lines] == ids
    assert all("job.run" in line and "bad" in line for line in lines)
    assert "\x1b" not in said
    assert "3 dead letter(s) in jobs" in note
    assert command.run("list", "--channel", "other")[0] == ""


async def test_show_tells_all_of_a_letter(command: Command, jobs: InspectableWorkQueue) -> None:
    letter = (await jobs.dead_letters("jobs"))[1]
    shown = json.loads(command.run("show", letter.id)[0])
    assert shown["id"] == letter.id
    assert shown["message"] == {"type": "job.run", "number": 1}
    assert (shown["attempts"], shown["reason"]) == (1, letter.reason)


async def test_replay_and_discard_by_id(command: Command, jobs: InspectableWorkQueue) -> None:
    """What was there is dealt with; an id that is not there is told, and status 1."""
    first, second, third = [letter.id for letter in await jobs.dead_letters("jobs")]
    assert "1 replayed" in command.run("replay", first)[1]
    assert await jobs.depth("jobs") == Depth(waiting=1, leased=0, dead=2)
    (again,) = await jobs.lease("jobs")
    assert (again.id, again.attempt) == (first, 1)
    note = command.run("discard", second, first, status=1)[1]
    assert "1 discarded" in note
    assert f"{first} is no dead letter in jobs" in note
    assert [letter.id for letter in await jobs.dead_letters("jobs")] == [third]
    assert "no dead letter" in command.run("show", "nonsense", status=1)[1]


async def test_all_and_depth(command: Command, jobs: InspectableWorkQueue) -> None:
    assert command.run("depth")[0].split() == ["waiting", "0", "in", "work", "0", "dead", "3"]
    assert "3 replayed" in command.run("replay", "--all")[1]
    assert await jobs.depth("jobs") == Depth(waiting=3, leased=0, dead=0)
    assert "0 discarded" in command.run("discard", "--all")[1]


@pytest.mark.parametrize(
    ("url", "arguments", "words"),
    [
        ("", ["list"], "REDIS_URL"),
        (UNREACHABLE, ["list"], "did not answer"),
        ("here", ["--channel", "no spaces"], "no spaces"),
    ],
)
def test_what_cannot_work_is_said(
    broker: Broker, tmp_path: Path, url: str, arguments: list[str], words: str
) -> None:
    settings = {"REDIS_URL": broker.url if url == "here" else url}
    assert words in Command(tmp_path, **settings).run(*arguments, status=1)[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["show"],
        ["show", "--all"],
        ["replay"],
        ["discard", "id", "--all"],
        ["list", "id"],
        ["dance"],
    ],
)
def test_wrong_arguments_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse(arguments)
    assert end.value.code == 2
    assert "usage: python -m" in capsys.readouterr().err
