"""The harness sees what it is there to see."""

import pytest

from ..faults.report import Result, table
from ..faults.tally import Sent, Track


def track(*numbers: int) -> Track:
    result = Track()
    for number in numbers:
        result.add(number)
    return result


def test_all_in_order() -> None:
    """What came once and in order is neither lost nor doubled nor reordered."""
    sent = Sent(last=3)
    seen = track(1, 2, 3)
    assert (seen.lost(sent), seen.doubled, seen.reordered(sent)) == (set(), 0, 0)


@pytest.mark.parametrize("numbers", [(2, 3), (1, 3), (1, 2)])
def test_lost(numbers: tuple[int, ...]) -> None:
    """A message that did not come is lost, wherever it is missing."""
    assert track(*numbers).lost(Sent(last=3)) == {1, 2, 3} - set(numbers)


def test_refused() -> None:
    """A message that was refused is not lost if it does not come, nor reordered if it comes late."""
    sent = Sent(last=3, refused={2})
    assert track(1, 3).lost(sent) == set()
    assert track(1, 3, 2).reordered(sent) == 0


def test_reordered() -> None:
    """A message that came after a later one is reordered, and not lost."""
    sent = Sent(last=3)
    seen = track(1, 3, 2)
    assert (seen.lost(sent), seen.doubled, seen.reordered(sent)) == (set(), 0, 1)


@pytest.mark.parametrize("numbers", [(1, 1, 2), (1, 2, 1), (2, 1, 1)])
def test_doubled(numbers: tuple[int, ...]) -> None:
    """A message that came twice is doubled, also if it was refused or late."""
    assert track(*numbers).doubled == 1


def test_behind() -> None:
    """Only what may still be under way makes a socket wait: not a hole before its last message."""
    assert track(1, 2).is_behind(Sent(last=3))
    assert not track(1, 3).is_behind(Sent(last=3))
    assert not track(1, 2).is_behind(Sent(last=3, refused={3}))


def test_broken_promise() -> None:
    """Each count that must be 0 and is not is a broken promise, unless the case allows it."""
    lossy = Result("kill", "pubsub", frozenset({"lost"}), lost=3, closed=1)
    assert lossy.broken == ["kill, pubsub: closed is 1, not 0"]
    assert Result("kill", "queue", lost=3).broken == ["kill, queue: lost is 3, not 0"]


def test_table() -> None:
    """A line per result, in columns of one width."""
    result = Result("kill", "queue", sent=12, accepted=11, lost=1, recovery=[0.5, 1.5, 0.25])
    headings, line = table([result]).splitlines()
    assert len(headings) == len(line)
    assert line.split()[:7] == ["kill", "queue", "3", "12", "11", "10", "1"]
    assert line.split()[-2:] == ["0.50", "1.50"]
