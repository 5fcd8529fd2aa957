"""What a client may send, and what it gets back: a case, and how it is run."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from .raw_websocket import Answer, Echo, RawClient, close_frame

_paths = itertools.count()


@dataclass(frozen=True)
class Server:
    """An echo server and its address."""

    address: tuple[str, int]
    app: Echo


@dataclass(frozen=True)
class Case:
    """``data`` from the client of an echo server; then it closes with 1000, unless it has closed.

    The application receives ``messages`` and then a disconnect with ``code``, which is also that of
    the server's close frame. ``pongs`` come back, and the messages unless the server has to close.
    ``closes`` says that the data itself ends the connection.
    """

    name: str
    data: bytes
    messages: tuple[str | bytes, ...] = ()
    pongs: tuple[bytes, ...] = ()
    code: int = 1000
    closes: bool = False


def case_table(*cases: Case, chopped: bool = True) -> Callable[..., Any]:
    """Parametrize a test with each case, sent whole and, unless not ``chopped``, in pieces."""
    return pytest.mark.parametrize(
        ("case", "chopped"),
        [
            pytest.param(case, in_pieces, id=f"{case.name}-{'chopped' if in_pieces else 'whole'}")
            for case in cases
            for in_pieces in ((False, True) if chopped else (False,))
        ],
    )


def run_case(server: Server, case: Case, chopped: bool, headers: str = "") -> None:
    """Send it, close, and compare all that comes back, and what the application has received."""
    path = f"case-{next(_paths)}"
    closes = case.closes or case.code != 1000
    with RawClient(server.address, path, headers) as client:
        (client.send_chopped if chopped else client.send)(case.data)
        answer = Answer()
        if not closes:
            client.answer(answer, until=len(case.messages) + len(case.pongs))
            client.send(close_frame(1000))
        client.answer(answer)
    assert not answer.reset, "the connection was reset, which may lose the close frame"
    assert answer.code == case.code
    assert answer.pongs == list(case.pongs)
    assert answer.messages == list(case.messages)[: len(answer.messages) if closes else None]
    *messages, disconnect = server.app.finally_received(f"/{path}")
    assert [message.get("text", message.get("bytes")) for message in messages] == [*case.messages]
    assert disconnect["code"] == case.code
