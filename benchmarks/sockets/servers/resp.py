"""The smallest client of Redis that can be pipelined: writes at once, calls back on a push.

No reconnect, no pool, no time-out, no bound: it shows what the wire costs, and nothing else.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

import hiredis

Reply = Callable[[Any], None]


def pack(*arguments: bytes) -> bytes:
    parts = [b"*%d\r\n" % len(arguments)]
    parts += [b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments]
    return b"".join(parts)


class Resp(asyncio.Protocol):
    """``execute()`` needs no await; what comes without having been asked for goes to ``on_push``."""

    transport: asyncio.Transport

    def __init__(self, on_push: Reply) -> None:
        self.reader = hiredis.Reader()
        self.unanswered = 0
        self.on_push = on_push

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def execute(self, *commands: bytes) -> None:
        """Packed commands, in one write; their replies are looked at for errors only."""
        self.unanswered += len(commands)
        self.transport.write(b"".join(commands))

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        while (reply := self.reader.gets()) is not False:
            if isinstance(reply, hiredis.ReplyError):
                raise reply
            if self.unanswered:
                self.unanswered -= 1
            else:
                self.on_push(reply)


async def connect(url: str, on_push: Reply) -> Resp:
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(
        lambda: Resp(on_push), address.hostname or "localhost", address.port or 6379
    )
    return client
