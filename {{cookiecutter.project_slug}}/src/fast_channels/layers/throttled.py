"""A warning that is counted, and logged at a bounded rate: an overload must not fill a disk."""

import logging
import time

LOG_INTERVAL = 10.0  # seconds between two lines


class ThrottledWarning:
    """``template`` gets the number of events since the last line, then ``add``'s arguments."""

    def __init__(self, logger: logging.Logger, template: str) -> None:
        self.total = 0
        self._logger = logger
        self._template = template
        self._told = 0
        self._told_at = -LOG_INTERVAL

    def add(self, *details: object, count: int = 1) -> None:
        self.total += count
        now = time.monotonic()
        if now - self._told_at >= LOG_INTERVAL:
            self._logger.warning(self._template, self.total - self._told, *details)
            self._told, self._told_at = self.total, now
