"""What uvicorn's log does not say: query strings, which hold names and secrets, and healthy health checks."""

import logging


class AccessFilter(logging.Filter):
    """Cuts the query off each path; drops health checks that were answered well."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(without_query, record.args))
        match record.args:  # of a request: address, method, path, HTTP version, status
            case (_, _, str(path), _, 200):
                return not path.startswith("/health/")
        return True


def without_query(argument: object) -> object:
    if isinstance(argument, str) and argument.startswith("/"):
        return argument.partition("?")[0]
    return argument


ACCESS_FILTER = AccessFilter()


def set_up_logging(level: str) -> None:
    """Log to standard error from ``level`` on; twice is once."""
    logging.basicConfig(level=level)
    for name in ("uvicorn.access", "uvicorn.error"):  # HTTP requests, WebSocket handshakes
        logging.getLogger(name).addFilter(ACCESS_FILTER)
