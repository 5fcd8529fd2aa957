"""RFC 6455, the cases that the Autobahn suite lists as 1 to 5: frames, and messages of many."""

from ..support.raw_websocket import BINARY, PING, PONG, TEXT, close_frame, frame
from ..support.wire_cases import Case, Server, case_table, run_case

SIZES = (0, 1, 125, 126, 127, 128, 65535, 65536)


def text(size: int) -> str:
    return "*" * size


def data(size: int) -> bytes:
    return b"\xfe" * size


@case_table(
    *(Case(f"text-{n}", frame(TEXT, text(n).encode()), (text(n),)) for n in SIZES),
    *(Case(f"binary-{n}", frame(BINARY, data(n)), (data(n),)) for n in SIZES),
    Case("zero-mask", frame(TEXT, b"hello", mask=bytes(4)), ("hello",)),
    Case("length-in-16-bits", b"\x81\xfe\x00\x05" + bytes(4) + b"hello", ("hello",)),
    Case("length-in-64-bits", b"\x81\xff" + bytes(7) + b"\x05" + bytes(4) + b"hello", ("hello",)),
    Case("many", frame(TEXT, b"a") * 200, ("a",) * 200),
)
def test_1_framing(echo_server: Server, case: Case, chopped: bool) -> None:
    """Messages of all lengths, however their length is written, come back."""
    run_case(echo_server, case, chopped)


@case_table(
    Case("empty", frame(PING), pongs=(b"",)),
    Case("text", frame(PING, b"hello"), pongs=(b"hello",)),
    Case("binary", frame(PING, b"\x00\xff\xfe"), pongs=(b"\x00\xff\xfe",)),
    Case("125-bytes", frame(PING, data(125)), pongs=(data(125),)),
    Case("126-bytes", frame(PING, data(126)), code=1002),
    Case("fragmented", frame(PING, b"a", fin=False), code=1002),
    Case("ten", frame(PING, b"p") * 10, pongs=(b"p",) * 10),
    Case("unasked-pong", frame(PONG)),
    Case("unasked-pong-with-payload", frame(PONG, b"x") + frame(PING, b"y"), pongs=(b"y",)),
    Case("pong-of-126-bytes", frame(PONG, data(126)), code=1002),
    Case(
        "between-messages", frame(TEXT, b"1") + frame(PING) + frame(TEXT, b"2"), ("1", "2"), (b"",)
    ),
)
def test_2_pings(echo_server: Server, case: Case, chopped: bool) -> None:
    """Each ping of at most 125 bytes is answered with its payload; a pong with nothing."""
    run_case(echo_server, case, chopped)


@case_table(
    *(Case(f"text-rsv-{rsv}", frame(TEXT, b"x", rsv=rsv), code=1002) for rsv in range(1, 8)),
    *(Case(f"ping-rsv-{rsv}", frame(PING, b"x", rsv=rsv), code=1002) for rsv in range(1, 8)),
    Case("after-a-message", frame(TEXT, b"a") + frame(BINARY, b"", rsv=4), ("a",), code=1002),
    Case("close", frame(8, rsv=2), code=1002),
)
def test_3_reserved_bits(echo_server: Server, case: Case, chopped: bool) -> None:
    """A reserved bit without an extension is a protocol error; what came before it counts."""
    run_case(echo_server, case, chopped)


@case_table(
    *(Case(f"{opcode:#x}", frame(opcode, b"x"), code=1002) for opcode in (3, 4, 5, 6, 7)),
    *(Case(f"{opcode:#x}", frame(opcode), code=1002) for opcode in (11, 12, 13, 14, 15)),
    Case("after-a-message", frame(TEXT, b"a") + frame(0xB) + frame(TEXT, b"b"), ("a",), code=1002),
)
def test_4_reserved_opcodes(echo_server: Server, case: Case, chopped: bool) -> None:
    """An opcode without a meaning is a protocol error."""
    run_case(echo_server, case, chopped)


def parts(*payloads: bytes, opcode: int = TEXT, between: bytes = b"") -> bytes:
    """The frames of one fragmented message."""
    last = len(payloads) - 1
    return between.join(
        frame(0 if number else opcode, payload, fin=number == last)
        for number, payload in enumerate(payloads)
    )


@case_table(
    Case("two", parts(b"hel", b"lo"), ("hello",)),
    Case("two-binary", parts(b"\xff", b"\xfe", opcode=BINARY), (b"\xff\xfe",)),
    Case("empty", parts(b"", b"", b""), ("",)),
    Case("every-byte", parts(*[b"x"] * 300), ("x" * 300,)),
    Case("long", parts(data(60_000), data(39_000), opcode=BINARY), (data(99_000),)),
    Case("ping-between", parts(b"a", b"b", between=frame(PING, b"p")), ("ab",), (b"p",)),
    Case("pong-between", parts(b"a", b"b", between=frame(PONG, b"p")), ("ab",)),
    Case("ten-pings", parts(b"a", b"b", b"c", between=frame(PING) * 5), ("abc",), (b"",) * 10),
    Case("big-ping-between", parts(b"a", b"b", between=frame(PING, data(126))), code=1002),
    Case("text-between", parts(b"a", b"b", between=frame(TEXT, b"c")), code=1002),
    Case("fragment-between", parts(b"a", b"b", between=frame(TEXT, b"c", fin=False)), code=1002),
    Case("continuation-first", frame(0, b"a"), code=1002),
    Case("unfinished-continuation-first", frame(0, b"a", fin=False), code=1002),
    Case("continuation-after", frame(TEXT, b"a") + frame(0, b"b"), ("a",), code=1002),
    Case("after-a-fragmented", parts(b"a", b"b") + frame(0, b"c", fin=False), ("ab",), code=1002),
    Case("rsv-in-continuation", frame(TEXT, b"a", fin=False) + frame(0, b"b", rsv=4), code=1002),
    Case("two-messages", parts(b"a", b"b") + parts(b"c", b"d", b"e"), ("ab", "cde")),
    Case("then-whole", parts(b"a", b"b") + frame(TEXT, b"c") + frame(PING), ("ab", "c"), (b"",)),
    Case("close-within", frame(TEXT, b"a", fin=False) + close_frame(4001), code=4001),
)
def test_5_fragments(echo_server: Server, case: Case, chopped: bool) -> None:
    """Fragments make one message; only control frames come between, continuations nowhere else."""
    run_case(echo_server, case, chopped)


@case_table(
    Case("unmasked", frame(TEXT, b"x", mask=None), code=1002),
    Case("unmasked-ping", frame(PING, mask=None), code=1002),
    Case("largest", frame(BINARY, data(100_000)), (data(100_000),)),
    Case("too-large", frame(BINARY, data(100_001)), code=1009),
    Case("far-too-large", frame(BINARY, b"", length=1 << 40), code=1009),
    Case("fragments", parts(data(60_000), data(40_001), opcode=BINARY), code=1009),
    Case("largest-in-fragments", parts(*[data(1000)] * 100, opcode=BINARY), (data(100_000),)),
    Case(
        "after-a-message", frame(TEXT, b"a") + frame(TEXT, b"", length=100_001), ("a",), code=1009
    ),
)
def test_limits(echo_server: Server, case: Case, chopped: bool) -> None:
    """A client masks (RFC 6455, 5.1); and no message is longer than ``ws_max_size``."""
    run_case(echo_server, case, chopped)
