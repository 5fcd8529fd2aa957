"""Ids and positions of a log, and what has been seen of it."""

import time

import pytest

from fast_channels.exceptions import UndecodableMessage
from fast_channels.layers.redis import group_log
from fast_channels.layers.redis.group_log import Position, Seen, format_id, id_at, parse_id


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (b"9-9", b"10-0"),
        (b"9-10", b"10-9"),
        (b"0-0", b"1700000000000-0"),
        (b"1700000000000-9", b"1700000000000-10"),
        (b"1700000000000-10", b"1700000000001-9"),
        (b"1700000000009-1", b"1700000000010-0"),
        (b"18446744073709551615-0", b"18446744073709551615-18446744073709551615"),
    ],
)
def test_entry_ids_compare_as_numbers(earlier: bytes, later: bytes) -> None:
    """An id has two of them; text would be ordered otherwise. They are written as they were read."""
    assert parse_id(later) > parse_id(earlier)
    assert format_id(parse_id(later)).encode() == later


@pytest.mark.parametrize(
    "entry",
    [
        *(b"", b"-", b"1", b"1-", b"-1", b"1-1-1", b"a-1", b"1_0-1", b" 1-1", b"+1-1", b"1-1\n"),
        *("\u0661-1".encode(), b"18446744073709551616-0", b"0-18446744073709551616", b"9" * 999),
    ],
)
def test_what_is_no_id_is_refused(entry: bytes) -> None:
    """Two decimal numbers of 64 bits, and nothing else."""
    with pytest.raises(UndecodableMessage):
        parse_id(entry)


@pytest.mark.parametrize(
    ("seconds", "believed"), [(-3600, True), (4, True), (6, False), (3600, False)]
)
def test_an_id_is_believed_up_to_the_overlap(seconds: float, believed: bool) -> None:
    """Ahead of the server's clock, which is not ours, and of the newest entry."""
    position = Position("room", 0)
    position.clock = 1e12
    now = 1e12 + time.monotonic() * 1000
    assert position.believes(id_at(now + seconds * 1000)) is believed
    position.last = id_at(now + 3600_000)
    assert position.believes(id_at(now + 3600_000 + seconds * 1000)) is believed


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
    monkeypatch.setattr("fast_channels.layers.redis.group_log.time.monotonic", lambda: now)
    seen = Seen()
    seen.add([1])
    now += group_log.SEEN_SECONDS - 1
    assert not seen.add([1])
    assert seen.add([2])
    now += 2
    assert seen.add([11])
    assert not seen.add([2])
    now += group_log.SEEN_SECONDS
    assert seen.add([21])
    assert seen.add([1])
    assert seen.add([2])


def test_uids_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last `SEEN_MAX` are remembered, and never more than twice as many."""
    monkeypatch.setattr(group_log, "SEEN_MAX", 3)
    seen = Seen()
    assert all(seen.add([uid]) for uid in range(7))
    assert not any(seen.add([uid]) for uid in range(3, 7))
    assert seen.add([0])


def test_none_is_forgotten_by_time_while_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recovery may take longer; the number stays bounded."""
    now = 0.0
    monkeypatch.setattr("fast_channels.layers.redis.group_log.time.monotonic", lambda: now)
    seen = Seen()
    seen.keep = True
    seen.add([1])
    now += 3 * group_log.SEEN_SECONDS
    assert seen.add([2])
    now += 3 * group_log.SEEN_SECONDS
    assert not seen.add([1])


def test_seen_outlives_every_repetition() -> None:
    """A listener remembers for longer than it reads back."""
    assert group_log.SEEN_SECONDS > group_log.OVERLAP
