"""Numbered messages, and who has received which of them.

Invariants
- Each message is a JSON object whose ``seq`` counts up from 0; ``senders`` take turns.
- A receiver's messages are in order if each is newer than the last of its sender; ``lost`` is what
  was sent and did not arrive, wherever the gap is; a doubled or late one counts as ``disordered``.
- Each receiver is counted by itself, those that send like the others: ``most_lost`` is what the one
  that lost most did not get.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from .dialects import Plain
from .frames import encode

TEXT = "The quick brown fox jumps over the lazy dog, and then over the fence as well."

LATEST = 2.0  # seconds after which a message counts as lost


class WrongContentError(Exception):
    """A frame that holds something else than the message that was sent."""


class Tally:
    """``receivers`` get each message; ``on_arrival(seq)`` is called for each that one got."""

    def __init__(self, dialect: Plain, receivers: int, *, room: bool, senders: int = 1) -> None:
        self.dialect = dialect
        self.room = room
        self.receivers = receivers
        self.senders = senders
        self.sent = 0
        self.counts: list[int] = []  # of each receiver
        self.disordered = 0
        self.on_arrival: Callable[[int], None] = lambda seq: None
        self._known: dict[bytes, int] = {}  # the text of a frame that was checked → its number

    def next_frame(self) -> bytes:
        message = json.dumps({"seq": self.sent, "text": TEXT}).encode()
        self.sent += 1
        return encode(self.dialect.encode(message, room=self.room))

    def receiver(self) -> Callable[[bytes], None]:
        """A new receiver's callback; it starts with the next message that is made."""
        senders = self.senders
        last = [self.sent - 1] * senders
        counts, place = self.counts, len(self.counts)
        counts.append(0)

        def receive(text: bytes) -> None:
            seq = self._known.get(text)
            if seq is None:
                seq = self._known[text] = self._check(text)
            if seq <= last[seq % senders]:
                self.disordered += 1
                return
            last[seq % senders] = seq
            counts[place] += 1
            self.on_arrival(seq)

        return receive

    async def settle(self) -> None:
        """Wait until nothing is missing, or until what is missing is ``LATEST`` seconds late."""
        deadline = time.monotonic() + LATEST
        # Polled, for an event would be one more call per frame.
        while self.lost and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    @property
    def received(self) -> int:
        return sum(self.counts)

    @property
    def most_lost(self) -> int:
        return self.sent - min(self.counts, default=0)

    @property
    def lost(self) -> int:
        return self.sent * self.receivers - self.received

    def _check(self, text: bytes) -> int:
        message: Any = self.dialect.decode(text)
        seq: int = message["seq"]
        if message != {"seq": seq, "text": TEXT} or not 0 <= seq < self.sent:
            raise WrongContentError(f"{text!r:.200}")
        return seq
