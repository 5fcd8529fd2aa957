"""The benchmark runs: every case with every subject, tiny, without a look at the time it takes."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from beside import Place
from rendering import ROOT, run

PEERS = {
    "candidate-tuned",
    "fast_channels",
    "channels_redis",
    "litestar",
    "broadcaster",
    "socketio",
    "raw",
    "floor",
    "wire",
}


def measure(place: Place) -> Path:
    """The samples of one quick run of everything."""
    path = place.folder / "samples.json"
    ended = place.run("make", "bench", f"ARGS=--quick --json {path}", cwd=ROOT)
    assert ended.returncode == 0, ended.stdout
    return path


of_one_run = pytest.mark.beside(measure, seconds=70)


@pytest.fixture
def measured(done: Path) -> Path:
    return done


def results(path: Path) -> list[dict[str, Any]]:
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [result for row in rows for result in row["results"]]


@of_one_run
@pytest.mark.timeout(2400)
def test_every_case_runs_with_every_subject(measured: Path) -> None:
    """Nothing failed, each figure is above 0, and no case went without the runtime of this tree, which
    lost nothing; peers may, on a starved machine.
    """
    found = results(measured)
    assert [result for result in found if result["error"] is not None] == []
    assert [result for result in found if not result["value"] > 0] == []
    ours = [result for result in found if result["subject"].startswith("candidate")]
    assert [result for result in ours if result["sample"]["extra"].get("lost")] == []
    listed = run("make", "--silent", "bench", "ARGS=--list --quick", cwd=ROOT).stdout.splitlines()
    names = {line.split()[0] for line in listed if " · " not in line}
    of_candidate = Counter(r["case"] for r in found if r["subject"] == "candidate")
    assert of_candidate == Counter(names)
    assert {result["subject"] for result in found} >= PEERS


@of_one_run
@pytest.mark.timeout(2400)
def test_rooms_count_what_each_member_got(measured: Path) -> None:
    """Those that talk without a pause included; and the run printed no fault of this tree's runtime."""
    rows = json.loads(measured.read_text(encoding="utf-8"))["rows"]
    talking = [r for row in rows if row["case"].startswith("talkers") for r in row["results"]]
    assert {result["subject"] for result in talking} == {"candidate", "candidate-tuned"}
    for result in talking:
        assert result["sample"]["operations"] == 100 * result["sample"]["extra"]["messages"]
        assert result["sample"]["extra"]["most lost"] == 0


LOSS = """
from benchmarks.results import Result, Row
from benchmarks.table import lines

def result(subject, lost, number):
    sample = {"operations": 300, "extra": {"lost": lost, "disordered": 0}}
    return Result("room", "queue", subject, number, value=5.0, sample=sample)

row = Row("room", "a room", "queue", "µs", "cpu", True, None, None)
row.results = [result("candidate", 0, 0), result("peer", 0, 0), result("peer", 12, 1)]
print("\\n".join(lines(row)))
"""


def test_a_loss_is_printed_as_a_fault() -> None:
    """Beside the row of the subject that lost, with the round; the others have none."""
    command = ("uv", "run", "--locked", "--project", "benchmarks", "python", "-c", LOSS)
    done = run(*command, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    faults = [line.split() for line in done.stdout.splitlines() if "FAULT" in line]
    assert faults == [["peer", "FAULT:", "12", "of", "its", "deliveries", "lost", "(round", "2)"]]


def report(samples: Path, to: Path) -> None:
    command = ["uv", "run", "--locked", "--project", "benchmarks", "python", "-m"]
    done = run(*command, "benchmarks.report", str(samples), "--to", str(to), cwd=ROOT)
    assert done.returncode == 0, done.stdout


@of_one_run
@pytest.mark.timeout(2400)
def test_rounds_of_a_busy_machine_are_left_out(measured: Path, tmp_path: Path) -> None:
    """Those in which the same thing, measured twice, lies more than 15 % apart."""
    content = json.loads(measured.read_text(encoding="utf-8"))
    (row,) = (row for row in content["rows"] if (row["case"], row["kind"]) == ("group-1", "queue"))
    values = {"candidate": (10, 10, 10), "again": (11, 12, 8), "fast_channels": (100, 700, 900)}
    template = row["results"][0]
    row["results"] = [
        template | {"subject": subject, "round": number, "value": value}
        for subject, rounds in values.items()
        for number, value in enumerate(rounds)
    ]
    samples = tmp_path / "samples.json"
    samples.write_text(json.dumps(content | {"rows": [row]}), encoding="utf-8")
    report(samples, tmp_path)
    assert "10.00 (10.00 to 10.00)" in (tmp_path / "ratios.txt").read_text(encoding="utf-8")


@of_one_run
@pytest.mark.timeout(2400)
def test_the_report_is_made_of_it(measured: Path, tmp_path: Path) -> None:
    """Every table that the documentation includes is there and holds something."""
    report(measured, tmp_path)
    for name in ("machine", "ratios", "figures", "redis", "live", "stalled", "growth"):
        assert (tmp_path / f"{name}.txt").read_text(encoding="utf-8").strip()


@pytest.mark.timeout(600)
def test_the_figures_of_the_house() -> None:
    """`make house` counts each folder, and the way of a message through each Redis layer."""
    shown = run("make", "house", cwd=ROOT)
    assert shown.returncode == 0, shown.stdout
    for part in (
        "layers/redis: ",
        "server: ",
        "group send, queue layer: ",
        "received, pubsub layer: ",
    ):
        (line,) = (line for line in shown.stdout.splitlines() if line.startswith(part))
        assert re.search(r": [1-9]\d* files, [1-9]", line), line
