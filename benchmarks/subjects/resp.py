"""The smallest Redis client that is of use: commands joined into one write per loop turn, callbacks.

It gives no guarantee: it does not reconnect, and nobody waits for the answer to a publish. It is the
floor below which a client in Python does not get.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

import hiredis

Reply = Callable[[Any], None]


class Resp(asyncio.Protocol):
    """With `on_push` it is a subscriber: each reply goes there, and no command has one of its own."""

    def __init__(self, on_push: Reply | None = None) -> None:
        self._parser = hiredis.Reader()
        self._waiting: deque[Reply] = deque()
        self._unsent: list[bytes] = []
        self._on_push = on_push

    @classmethod
    async def connect(cls, url: str, on_push: Reply | None = None) -> "Resp":
        loop = asyncio.get_running_loop()
        address = urlsplit(url)
        _, self = await loop.create_connection(
            lambda: cls(on_push), str(address.hostname), address.port or 6379
        )
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        while (reply := self._parser.gets()) is not False:
            if isinstance(reply, hiredis.ReplyError):
                raise reply
            handle = self._on_push or self._waiting.popleft()
            handle(reply)

    def write(self, *command: Any, on_reply: Reply = lambda reply: None) -> None:
        """Send at the end of this turn of the loop; `on_reply` gets its reply."""
        if self._on_push is None:
            self._waiting.append(on_reply)
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(hiredis.pack_command(command))

    def _flush(self) -> None:
        self._transport.write(b"".join(self._unsent))
        self._unsent.clear()
