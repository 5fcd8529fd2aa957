"""RFC 6455, 7, the cases that the Autobahn suite lists as 7: the client's close frame."""

import struct

from ..support.raw_websocket import CLOSE, PING, TEXT, frame
from ..support.wire_cases import Case, Server, case_table, run_case

VALID = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014)
PRIVATE = (3000, 3999, 4000, 4999)
INVALID = (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason)


@case_table(
    *(Case(str(code), close(code), code=code, closes=True) for code in VALID + PRIVATE),
    Case("empty", frame(CLOSE), code=1005, closes=True),
    Case("with-reason", close(1000, b"Hello World!"), code=1000, closes=True),
    Case("longest-reason", close(1000, b"*" * 123), code=1000, closes=True),
    Case("greek-reason", close(4000, "κόσμε".encode()), code=4000, closes=True),
    Case(
        "after-a-message", frame(TEXT, b"first") + close(3000), ("first",), code=3000, closes=True
    ),
)
def test_7_valid(echo_server: Server, case: Case, chopped: bool) -> None:
    """A valid close frame is answered with the same code."""
    run_case(echo_server, case, chopped)


@case_table(
    Case("twice", close(1000) * 2, code=1000, closes=True),
    Case("then-a-ping", close(1000) + frame(PING), code=1000, closes=True),
    Case("then-a-message", close(1000) + frame(TEXT, b"late"), code=1000, closes=True),
    Case("then-nonsense", close(1000) + b"\xff" * 100, code=1000, closes=True),
    chopped=False,  # what a client sends to a closed socket resets the connection
)
def test_7_late(echo_server: Server, case: Case, chopped: bool) -> None:
    """Nothing after a close frame counts."""
    run_case(echo_server, case, chopped)


@case_table(
    *(Case(str(code), close(code), code=1002) for code in INVALID),
    Case("one-byte", frame(CLOSE, b"\x03"), code=1002),
    Case("too-long", close(1000, b"*" * 124), code=1002),
    Case("fragmented", frame(CLOSE, struct.pack("!H", 1000), fin=False), code=1002),
    Case("reason-not-utf-8", close(1000, b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80"), code=1007),
    Case("reason-cut", close(1000, "κ".encode()[:1]), code=1007),
)
def test_7_invalid(echo_server: Server, case: Case, chopped: bool) -> None:
    """An invalid close frame is answered with why it is invalid."""
    run_case(echo_server, case, chopped)
