"""The command line, as an operator types it, for the layers of an application on a real Redis."""

import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fast_channels.__main__ import command_line
from fast_channels.layers import Depth, RedisChannelLayer

from ..support.programs import run
from ..support.redis_servers import RedisServer

UNREACHABLE = "redis://127.0.0.1:1/0"  # port 1 is nobody's

# The application: its module is importable from the folder in which the command runs.
SHOP = """
from fast_channels.layers import InMemoryChannelLayer, RedisChannelLayer, RedisPubSubChannelLayer

def make_layers():
    return {{
        "jobs": RedisChannelLayer([{url!r}], prefix={prefix!r}, timeout=0.5),
        "events": RedisPubSubChannelLayer([{url!r}], prefix={prefix!r}),
        "memory": InMemoryChannelLayer(),
    }}

def renamed():
    return {{"work": make_layers()["jobs"]}}

def no_layers():
    return 5
"""

Command = Callable[..., tuple[str, str]]


@pytest.fixture
def prefix() -> str:
    return f"letters-{uuid.uuid4().hex[:8]}"


@pytest.fixture
async def jobs(redis_server: RedisServer, prefix: str) -> AsyncIterator[RedisChannelLayer]:
    """The queue as another process of the application has it, with three dead letters in "jobs"."""
    async with RedisChannelLayer([redis_server.url], prefix) as layer:
        for number in range(3):
            await layer.send("jobs", {"type": "job.run", "number": number})
            (delivery,) = await layer.lease("jobs")
            await layer.reject(delivery, final=True, reason=f"bad {number}\n\x1b[2J")
        yield layer


@pytest.fixture
def shop(
    request: pytest.FixtureRequest, redis_server: RedisServer, prefix: str, tmp_path: Path
) -> Path:
    """A folder that holds the application; a test may give it another URL of Redis."""
    url = getattr(request, "param", redis_server.url)
    (tmp_path / "shop.py").write_text(SHOP.format(url=url, prefix=prefix))
    return tmp_path


@pytest.fixture
def command(shop: Path) -> Command:
    """Runs the command; gives what it said on standard output and on standard error."""

    def of(*arguments: str, layers: str = "shop", status: int = 0) -> tuple[str, str]:
        env = os.environ | {"FAST_CHANNELS_LAYERS": layers}
        ended = run("fast_channels", *arguments, cwd=shop, env=env)
        assert "Traceback" not in ended.errors
        assert ended.status == status, ended.errors
        return ended.output, ended.errors

    return of


async def test_list_shows_each_letter_in_a_line(command: Command, jobs: RedisChannelLayer) -> None:
    """What a terminal would obey is not printed."""
    ids = [letter.id for letter in await jobs.dead_letters("jobs")]
    said, remarks = command("dead-letters", "list", "jobs")
    lines = said.splitlines()
    assert [line.split()[0] for line in lines] == ids
    assert all("job.run" in line and "bad" in line for line in lines)
    assert "\x1b" not in said
    assert "3 dead letter(s) in jobs" in remarks
    assert command("dead-letters", "list", "other")[0] == ""


async def test_show_tells_all_of_a_letter(command: Command, jobs: RedisChannelLayer) -> None:
    letter = (await jobs.dead_letters("jobs"))[1]
    shown = json.loads(command("dead-letters", "show", "jobs", letter.id)[0])
    assert shown["id"] == letter.id
    assert shown["message"] == {"type": "job.run", "number": 1}
    assert (shown["attempts"], shown["reason"]) == (1, letter.reason)


async def test_replay_and_discard_by_id(command: Command, jobs: RedisChannelLayer) -> None:
    """What was there is dealt with; an id that is not there is told, and status 1."""
    first, second, third = [letter.id for letter in await jobs.dead_letters("jobs")]
    assert "1 replayed" in command("dead-letters", "replay", "jobs", first)[1]
    assert await jobs.depth("jobs") == Depth(waiting=1, leased=0, dead=2)
    (again,) = await jobs.lease("jobs")
    assert (again.id, again.attempt) == (first, 1)
    remarks = command("dead-letters", "discard", "jobs", second, first, status=1)[1]
    assert "1 discarded" in remarks
    assert f"{first} is no dead letter in jobs" in remarks
    assert [letter.id for letter in await jobs.dead_letters("jobs")] == [third]
    assert "no dead letter" in command("dead-letters", "show", "jobs", "nonsense", status=1)[1]


async def test_all_and_depth(command: Command, jobs: RedisChannelLayer) -> None:
    said = command("--layer", "work", "depth", "jobs", layers="shop:renamed")[0]
    assert said.split() == ["waiting", "0", "in", "work", "0", "dead", "3"]
    assert "3 replayed" in command("dead-letters", "replay", "jobs", "--all")[1]
    assert await jobs.depth("jobs") == Depth(waiting=3, leased=0, dead=0)
    assert "0 discarded" in command("dead-letters", "discard", "jobs", "--all")[1]


@pytest.mark.parametrize(
    ("alias", "channel", "words"),
    [
        ("memory", "jobs", "'memory' is in memory"),
        ("events", "jobs", "RedisPubSubChannelLayer keeps no jobs"),
        ("jobs", "no spaces", "no spaces"),
    ],
)
def test_what_cannot_work_is_said(command: Command, alias: str, channel: str, words: str) -> None:
    assert words in command("--layer", alias, "dead-letters", "list", channel, status=1)[1]


@pytest.mark.parametrize("shop", [UNREACHABLE], indirect=True)
def test_a_redis_that_does_not_answer_is_told(command: Command) -> None:
    assert "did not answer" in command("dead-letters", "list", "jobs", status=1)[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("depth jobs", "--layers"),
        ("--layers shop depth", "channel"),
        ("--layers shop dance", "dance"),
        ("--layers shop dead-letters list jobs id", "id"),
        ("--layers shop dead-letters show jobs", "ids"),
        ("--layers shop dead-letters show jobs --all", "--all"),
        ("--layers shop dead-letters replay jobs", "either IDs or --all"),
        ("--layers shop dead-letters discard jobs id --all", "either IDs or --all"),
        ("--layers shop:no_layers depth jobs", "made 5, not a dict"),
        ("--layers shop:nothing depth jobs", "nothing"),
        ("--layers no_shop depth jobs", "No module named 'no_shop'"),
        ("--layers shop --layer other depth jobs", "only jobs, events, memory"),
    ],
)
def test_wrong_arguments_are_refused(
    shop: Path, arguments: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With status 2, the usage, and what was expected."""
    monkeypatch.delenv("FAST_CHANNELS_LAYERS", raising=False)
    monkeypatch.syspath_prepend(shop)
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    result = CliRunner().invoke(command_line, arguments.split())
    assert result.exit_code == 2
    assert "Usage: " in result.output
    assert words.lower() in result.output.lower()
