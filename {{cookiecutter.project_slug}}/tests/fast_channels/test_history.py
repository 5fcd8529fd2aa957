"""Where a listener reads on after a broken connection, and what it has seen."""

import pytest

from fast_channels.layers.redis import history
from fast_channels.layers.redis.history import BEGINNING, Position, Seen, parse_id


def test_an_entry_id_has_two_numbers() -> None:
    """They compare as numbers, not as text."""
    assert parse_id(b"1700000000000-12") == (1700000000000, 12)
    assert parse_id(b"9-9") < parse_id(b"10-0")


def test_a_position_only_advances() -> None:
    """An entry with a lower id, such as a new primary may give, does not move it back."""
    position = Position(joined=(100, 0), last=(100, 0))
    position.advance((200, 1))
    position.advance((150, 0))
    assert position.last == (200, 1)


@pytest.mark.parametrize(
    ("joined", "last", "start"),
    [
        ((100_000, 0), (200_000, 7), "195000-0"),  # 5 s before the newest it knows
        ((100_000, 3), (100_000, 3), "(100000-3"),  # nothing since the joining
        ((100_000, 3), (102_000, 0), "(100000-3"),  # never behind the joining
        (BEGINNING, BEGINNING, "(0-0"),  # an empty log
    ],
)
def test_it_reads_on_from_before_the_newest_it_knows(
    joined: tuple[int, int], last: tuple[int, int], start: str
) -> None:
    """`OVERLAP` seconds back, because a new primary may go on with ids below the last."""
    assert Position(joined, last).resume_from() == start


def test_a_uid_is_seen_once() -> None:
    """The second time it is refused."""
    seen = Seen()
    assert [seen.add(uid) for uid in (b"a", b"b", b"a", b"b", b"c")] == [
        True,
        True,
        False,
        False,
        True,
    ]


def test_uids_are_forgotten_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before `SEEN_SECONDS`, and then, so that memory is bounded."""
    now = 0.0
    monkeypatch.setattr("fast_channels.layers.redis.history.time.monotonic", lambda: now)
    seen = Seen()
    seen.add(b"old")
    now += history.SEEN_SECONDS - 1
    assert not seen.add(b"old")
    now += 2
    assert seen.add(b"new")
    assert seen.add(b"old")


def test_uids_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than `SEEN_MAX`, the oldest goes."""
    monkeypatch.setattr(history, "SEEN_MAX", 3)
    seen = Seen()
    for uid in (b"1", b"2", b"3", b"4"):
        assert seen.add(uid)
    assert not seen.add(b"2")
    assert seen.add(b"1")


def test_seen_outlives_every_repetition() -> None:
    """A listener remembers for longer than it reads back."""
    assert history.SEEN_SECONDS > history.OVERLAP
