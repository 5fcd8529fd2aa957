"""A warning that is counted, and logged at a bounded rate."""

import logging

import pytest

from fast_channels.layers.throttled import LOG_INTERVAL, ThrottledWarning


def test_all_is_counted_and_little_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first event is logged at once, then at most one line an interval, with the number."""
    now = 1000.0
    monkeypatch.setattr("fast_channels.layers.throttled.time.monotonic", lambda: now)
    warning = ThrottledWarning(logging.getLogger("test"), "%d lost, the last: %s")
    for number in range(5):
        warning.add(number)
    now += LOG_INTERVAL
    warning.add("late")
    assert [r.getMessage() for r in caplog.records] == [
        "1 lost, the last: 0",
        "5 lost, the last: late",
    ]
    assert warning.total == 6
