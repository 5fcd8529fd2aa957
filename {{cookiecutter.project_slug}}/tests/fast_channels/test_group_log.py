"""Where a listener reads on after a broken connection, and what it has seen."""

import pytest

from fast_channels.layers.redis import history
from fast_channels.layers.redis.history import BEGINNING, Position, Seen, is_later


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (b"9-9", b"10-0"),
        (b"9-10", b"10-9"),
        (b"0-0", b"1700000000000-0"),
        (b"1700000000000-9", b"1700000000000-10"),
        (b"1700000000000-10", b"1700000000001-9"),
        (b"1700000000000-1", b"1700000000000-2"),
        (b"1700000000009-1", b"1700000000010-0"),
    ],
)
def test_entry_ids_compare_as_numbers(earlier: bytes, later: bytes) -> None:
    """An id has two of them; text would be ordered otherwise."""
    assert is_later(later, earlier)
    assert not is_later(earlier, later)
    assert not is_later(later, later)


def test_a_position_only_advances() -> None:
    """An entry with a lower id, such as a new primary may give, does not move it back."""
    position = Position(joined=b"100-0", last=b"100-0")
    position.advance(b"200-1")
    position.advance(b"150-0")
    assert position.last == b"200-1"


@pytest.mark.parametrize(
    ("joined", "last", "start"),
    [
        (b"100000-0", b"200000-7", "195000-0"),  # 5 s before the newest it knows
        (b"100000-3", b"100000-3", "(100000-3"),  # nothing since the joining
        (b"100000-3", b"102000-0", "(100000-3"),  # never behind the joining
        (BEGINNING, BEGINNING, "(0-0"),  # an empty log
    ],
)
def test_it_reads_on_from_before_the_newest_it_knows(
    joined: bytes, last: bytes, start: str
) -> None:
    """`OVERLAP` seconds back, because a new primary may go on with ids below the last."""
    assert Position(joined, last).resume_from() == start


def test_a_uid_is_seen_once() -> None:
    """The second time it is refused; of several uids, those that were seen are."""
    seen = Seen()
    assert [list(seen.add([uid])) for uid in (7, 17, 7, 17)] == [[7], [17], [], []]
    assert list(seen.add(range(6, 9))) == [6, 8]
    assert list(seen.add(range(6, 9))) == []


def test_uids_that_are_all_new_are_returned_as_they_came() -> None:
    """By which the caller knows that it has nothing to leave out."""
    uids = range(50)
    assert Seen().add(uids) is uids


def test_uids_are_forgotten_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before `SEEN_SECONDS`, and then, so that memory is bounded."""
    now = 0.0
    monkeypatch.setattr("fast_channels.layers.redis.history.time.monotonic", lambda: now)
    seen = Seen()
    seen.add([1])
    now += history.SEEN_SECONDS - 1
    assert not seen.add([1])
    assert seen.add([2])
    now += 2
    assert seen.add([11])
    assert not seen.add([2])
    now += history.SEEN_SECONDS
    assert seen.add([21])
    assert seen.add([1])
    assert seen.add([2])


def test_uids_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last `SEEN_MAX` are remembered, and never more than twice as many."""
    monkeypatch.setattr(history, "SEEN_MAX", 3)
    seen = Seen()
    assert all(seen.add([uid]) for uid in range(7))
    assert not any(seen.add([uid]) for uid in range(3, 7))
    assert seen.add([0])


def test_seen_outlives_every_repetition() -> None:
    """A listener remembers for longer than it reads back."""
    assert history.SEEN_SECONDS > history.OVERLAP
