"""RFC 6455, 8.1, the cases that the Autobahn suite lists as 6: text is UTF-8, as a whole."""

import itertools

from ..support.raw_websocket import BINARY, PING, TEXT, frame
from ..support.wire_cases import Case, Server, case_table, run_case

GREEK = "κόσμε"

VALID = {
    "empty": "",
    "ascii": "Hello",
    "greek": GREEK,
    "umlauts": "Hello-µ@ßöäüàá-UTF-8!!",
    "first-of-2-bytes": "\x80",
    "first-of-3-bytes": "\u0800",
    "first-of-4-bytes": "\U00010000",
    "last-of-1-byte": "\x7f",
    "last-of-2-bytes": "\u07ff",
    "last-of-3-bytes": "\uffff",
    "last-of-4-bytes": "\U0010ffff",
    "before-surrogates": "\ud7ff",
    "after-surrogates": "\ue000",
    "replacement": "\ufffd",
    "no-characters": "\ufffe\uffff\U0001fffe\U0010fffe",
    "null": "\0",
}

INVALID = {
    "surrogate-in-the-middle": b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    "beyond-unicode": b"\xf4\x90\x80\x80",
    "f5": b"\xf5\x80\x80\x80",
    "5-bytes": b"\xf8\x88\x80\x80\x80",
    "6-bytes": b"\xfc\x84\x80\x80\x80\x80",
    "lone-continuation": b"\x80",
    "two-continuations": b"\x80\xbf",
    "all-continuations": bytes(range(0x80, 0xC0)),
    "lone-starts": b" ".join(bytes((byte,)) for byte in range(0xC0, 0xFE)) + b" ",
    "cut-2-bytes": b"\xc0",
    "cut-3-bytes": b"\xe0\x80",
    "cut-4-bytes": b"\xf0\x80\x80",
    "cut-at-the-end": GREEK.encode()[:-1],
    "fe": b"\xfe",
    "ff": b"\xff",
    "overlong-slash-2": b"\xc0\xaf",
    "overlong-slash-3": b"\xe0\x80\xaf",
    "overlong-slash-4": b"\xf0\x80\x80\xaf",
    "overlong-null": b"\xc0\x80",
    "high-surrogate": b"\xed\xa0\x80",
    "low-surrogate": b"\xed\xb0\x80",
    "surrogate-pair": b"\xed\xa0\x80\xed\xb0\x80",
}


def halves(payload: bytes) -> bytes:
    """Two fragments."""
    middle = len(payload) // 2
    return frame(TEXT, payload[:middle], fin=False) + frame(0, payload[middle:])


def each_byte(payload: bytes, between: bytes = b"") -> bytes:
    """A fragment for each byte, and an empty one at the end."""
    opcodes = itertools.chain([TEXT], itertools.repeat(0))
    return b"".join(
        frame(next(opcodes), bytes((byte,)), fin=False) + between for byte in payload
    ) + frame(next(opcodes))


@case_table(
    *(Case(name, frame(TEXT, text.encode()), (text,)) for name, text in VALID.items()),
    *(Case(f"{name}-halved", halves(text.encode()), (text,)) for name, text in VALID.items()),
    Case("split-code-points", each_byte(GREEK.encode()), (GREEK,)),
    Case(
        "pings-in-code-points",
        each_byte(GREEK.encode(), frame(PING, b"p")),
        (GREEK,),
        (b"p",) * len(GREEK.encode()),
    ),
)
def test_6_valid(echo_server: Server, case: Case, chopped: bool) -> None:
    """Valid text comes back the same, wherever it is cut into fragments."""
    run_case(echo_server, case, chopped)


@case_table(
    *(Case(name, frame(TEXT, payload), code=1007) for name, payload in INVALID.items()),
    *(Case(f"{name}-halved", halves(payload), code=1007) for name, payload in INVALID.items()),
    Case("split", each_byte(INVALID["surrogate-in-the-middle"]), code=1007),
    Case("after-a-message", frame(TEXT, b"a") + frame(TEXT, b"\xff"), ("a",), code=1007),
    Case("before-a-message", frame(TEXT, b"\xff") + frame(TEXT, b"a"), code=1007),
)
def test_6_invalid(echo_server: Server, case: Case, chopped: bool) -> None:
    """Text that is not UTF-8 closes the connection with 1007, also in fragments."""
    run_case(echo_server, case, chopped)


@case_table(
    *(Case(name, frame(BINARY, payload), (payload,)) for name, payload in INVALID.items()),
)
def test_binary_may_be_anything(echo_server: Server, case: Case, chopped: bool) -> None:
    """No rule but that of text."""
    run_case(echo_server, case, chopped)
