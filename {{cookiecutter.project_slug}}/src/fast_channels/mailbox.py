"""The bounded buffer in which messages wait for one channel's receivers, which knows no layer.

Invariants
- A message is taken only by ``take()``, in the caller's own step: a receiver that is cancelled
  while it waits has taken nothing, so cancelling it loses and delays no message.
- What waits may be withdrawn by whoever has put it, as if it had never been put.
- At most ``capacity`` messages wait. What is over it goes by ``overflow``, and is counted.
- A message older than ``expiry`` seconds is never handed out; it is counted.
- Only the event loop of a waiter touches that waiter: ``put()`` may be called from any thread.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, get_args

Message = dict[str, Any]
# When it was put, by the monotonic clock; the message; what makes a receiver's own copy of it, or None
# if it is the receiver's own already.
Entry = tuple[float, Message, Callable[[], Message] | None]
Overflow = Literal["drop_newest", "drop_oldest", "close"]


@dataclass(eq=False, repr=False, slots=True)
class Mailbox:
    """A first-in-first-out buffer of at most ``capacity`` messages.

    ``overflow`` says what happens to a message that finds the buffer full: ``"drop_newest"`` drops
    it, ``"drop_oldest"`` drops the longest-waiting one instead, ``"close"`` drops it and sets
    ``overflowed``, upon which a consumer closes its socket. ``expiry`` is in seconds; None keeps
    messages for ever.
    """

    capacity: int
    _: KW_ONLY
    expiry: float | None = None
    overflow: Overflow = "drop_newest"
    overflowed: bool = False
    on_overflow: Callable[[], object] | None = None  # when "close" drops, in the putter's thread
    wants_events: bool = False  # a consumer takes from here, which understands the layer's events
    dropped: int = 0
    expired: int = 0
    on_expired: Callable[[int], None] | None = None  # told how many, when they are dropped
    # Told of each message before it is put, also of one that is dropped, in the putter's thread.
    on_put: Callable[[Message], object] | None = None
    # Lists: an empty deque takes 760 bytes, and a list of 100 messages gives its first one as fast.
    _messages: list[Entry] = field(default_factory=list)
    _waiters: "list[asyncio.Future[None]]" = field(default_factory=list)

    def __post_init__(self) -> None:
        self.set_overflow(self.overflow)

    def __len__(self) -> int:
        return len(self._messages)

    def set_overflow(self, overflow: Overflow) -> None:
        """Change the policy; ``ValueError`` for one that there is not."""
        if overflow not in get_args(Overflow):
            raise ValueError(f"overflow must be one of {get_args(Overflow)}, not {overflow!r}")
        self.overflow = overflow

    @property
    def idle(self) -> bool:
        """Nothing waits here: no message, no receiver."""
        return not self._messages and not self._waiters

    @property
    def full(self) -> bool:
        """There is no room, also when what has expired is dropped."""
        if len(self._messages) >= self.capacity:
            self.drop_expired()
        return len(self._messages) >= self.capacity

    @property
    def waiting(self) -> int:
        """How many receivers wait for a message."""
        return len(self._waiters)

    def put(self, message: Message) -> bool:
        """Append ``message`` and wake a receiver; False if a message had to be dropped."""
        return self.put_entry((time.monotonic(), message, None))

    def put_entry(self, entry: Entry) -> bool:
        """As ``put``, what may be put into many mailboxes: each receiver takes a copy of it."""
        if self.on_put is not None:
            self.on_put(entry[1])
        accepted = True
        if len(self._messages) >= self.capacity and self.full:
            accepted = False
            self.dropped += 1
            if self.overflow == "drop_oldest":
                self._messages.pop(0)
            else:
                self.overflowed = self.overflow == "close"
                if self.overflowed and self.on_overflow is not None:
                    self.on_overflow()
                self.poke()
                return False
        self._messages.append(entry)
        if self._waiters:
            self.poke()
        return accepted

    def take(self) -> Message | None:
        """The oldest message that has not expired, or None if there is none."""
        messages, expiry = self._messages, self.expiry
        if not messages:
            return None
        try:
            if expiry is not None and messages[0][0] < time.monotonic() - expiry:
                self.drop_expired()
            _, message, copy = messages.pop(0)
            return message if copy is None else copy()
        except IndexError:  # all had expired, or another thread was faster
            return None

    def withdraw(self, is_meant: Callable[[Message], object]) -> None:
        """Take back what waits here and ``is_meant``."""
        for entry in [one for one in self._messages if is_meant(one[1])]:
            with contextlib.suppress(ValueError):  # another thread has taken it
                self._messages.remove(entry)

    async def get(self) -> Message:
        """Wait for a message and take it."""
        while (message := self.take()) is None:
            await self.wait()
        return message

    async def wait(self) -> None:
        """Return after the next ``put()`` or ``poke()``; the caller then tries ``take()`` again."""
        waiter = self.waiter(asyncio.get_running_loop())
        try:
            await waiter
        except asyncio.CancelledError:
            self._forget(waiter)
            if self._messages:
                self.poke()  # a wake-up that came for this receiver belongs to another one now
            raise

    def waiter(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[None]":
        """A future that is done when ``wait()`` would return, for the only receiver of a channel.

        ``loop`` is the running one.
        """
        waiter = loop.create_future()
        self._waiters.append(waiter)
        # Queued before this look: another thread's put sees the waiter, or this look its message.
        if self._messages:
            self._forget(waiter)
            if not waiter.done():
                waiter.set_result(None)
        return waiter

    def poke(self) -> None:
        """Wake the receiver that has waited longest, if there is one."""
        while self._waiters:
            waiter = self._waiters.pop(0)
            loop = waiter.get_loop()
            if waiter.done() or loop.is_closed():
                continue
            if loop is asyncio._get_running_loop():
                waiter.set_result(None)
            else:
                loop.call_soon_threadsafe(_wake, waiter)
            return

    def drop_expired(self) -> None:
        """Drop, and count, what has waited for longer than ``expiry``."""
        if self.expiry is None:
            return
        oldest = time.monotonic() - self.expiry
        before = len(self._messages)
        while self._messages and self._messages[0][0] < oldest:
            self._messages.pop(0)
        if count := before - len(self._messages):
            self.expired += count
            if self.on_expired is not None:
                self.on_expired(count)

    def _forget(self, waiter: "asyncio.Future[None]") -> None:
        with contextlib.suppress(ValueError):  # it has been woken
            self._waiters.remove(waiter)


def _wake(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
