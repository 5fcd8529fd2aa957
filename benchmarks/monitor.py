"""Counts what Redis is asked to do, told apart by who asks: a client, or a script that a client runs."""

import re
import socket
from collections import Counter
from contextlib import ExitStack
from typing import Self
from uuid import uuid4

COMMAND = re.compile(rb'^\+\d+\.\d+ \[\d+ ([^\]]*)\] "(\w+)')


class Monitor:
    """Redis tells a MONITOR connection of every command, those of scripts marked as `lua`.

    `bytes` is how much that was.
    """

    def __init__(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self._address = (host, int(port))
        self.bytes = 0
        self._open = ExitStack()

    def __enter__(self) -> Self:
        connect = socket.create_connection
        self._asking = self._open.enter_context(connect(self._address, timeout=10))
        listening = self._open.enter_context(connect(self._address, timeout=10))
        self._lines = self._open.enter_context(listening.makefile("rb"))
        listening.sendall(b"MONITOR\r\n")
        self._lines.readline()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._open.close()

    def counted(self) -> tuple[Counter[str], Counter[str]]:
        """By name, since the last call or the beginning: commands of clients, commands of scripts."""
        mark = uuid4().hex.encode()
        self._asking.sendall(b"ECHO " + mark + b"\r\n")
        self._asking.recv(100)
        asked: Counter[str] = Counter()
        scripted: Counter[str] = Counter()
        while mark not in (line := self._lines.readline()):
            self.bytes += len(line)
            found = COMMAND.match(line)
            if found is None:
                raise RuntimeError(f"MONITOR said {line!r}")
            who, name = found.groups()
            (scripted if who == b"lua" else asked)[name.decode().lower()] += 1
        for counts in (asked, scripted):
            del counts["info"]
        return asked, scripted
