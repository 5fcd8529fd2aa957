"""What uvicorn's log does not say: query strings, which hold names and secrets, and healthy health checks."""

import logging

HEALTH = "/health/"


class AccessFilter(logging.Filter):
    """Cuts the query off each path; drops health checks that were answered well."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not isinstance(record.args, tuple):
            return True
        record.args = tuple(
            argument.partition("?")[0]
            if isinstance(argument, str) and argument.startswith("/")
            else argument
            for argument in record.args
        )
        return not is_healthy_check(record)


def is_healthy_check(record: logging.LogRecord) -> bool:
    """uvicorn's arguments: address, method, path, HTTP version, status."""
    match record.args:
        case (_, _, str(path), _, 200):
            return path.startswith(HEALTH)
    return False


ACCESS_FILTER = AccessFilter()


def set_up_logging(level: str) -> None:
    """Log to standard error from `level` on; twice is once."""
    logging.basicConfig(level=level)
    for name in ("uvicorn.access", "uvicorn.error"):  # HTTP requests, WebSocket handshakes
        logging.getLogger(name).addFilter(ACCESS_FILTER)
