"""Who is behind a socket: reach a user, end what has expired or was revoked. Nothing imports this module.

    class ChatConsumer(IdentityMixin, AsyncJsonWebsocketConsumer): ...

    await ChatConsumer.serve(websocket, user=user, session=session.id, session_expires_at=session.expires)
    await send_to_user(layer, user.id, {"type": "note", "text": "Your order is on its way."})
    await close_user(layer, user.id, reason="You signed out.")

All sockets of a user are in one group, on whatever layer, from before ``connect()`` to their end.

Invariants
- Two users never share a group, whatever their ids are.
- A socket whose session has expired is closed then; one that is told to close, within ``PATIENCE`` seconds:
  also while ``connect()`` or another handler runs, and if the mailbox is full. What the layer delivered
  before is handled first, if that takes no longer.
- Nothing puts off what was told; ``renew_session`` moves the expiry and nothing else.
- A close can do nothing else, whoever sent it. Its fields are checked at the sender, and again on arrival.
- A server that cannot send the close (a client that reads nothing) has ``CLOSE_TIMEOUT`` seconds for it; then
  the client counts as gone.
- A socket has at most one timer, which ends with it, and a task only while it is being closed.
"""

import asyncio
import contextlib
import hashlib
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias
from uuid import UUID

from .consumer.handlers import layer_event
from .consumer.websocket import MOST_REASON, AsyncWebsocketConsumer, check_close_code
from .exceptions import ChannelLayerUnavailable, InvalidNameError
from .layers.base import BaseChannelLayer
from .mailbox import Mailbox, Message
from .type_defs import Event, HeadersInput, Receive, Scope, Send

logger = logging.getLogger(__name__)

UserId: TypeAlias = str | int | UUID

# Close codes, of the range for private use (RFC 6455, 7.4.2).
SESSION_EXPIRED = 4401  # to be opened again with a new session
SIGNED_OUT = 4403  # not to be opened again with this session

CLOSE = "identity.close"
PATIENCE = 0.25  # seconds for what was delivered before a close
CLOSE_TIMEOUT = 2.0  # seconds
CENTURY = 100 * 365 * 86_400.0  # seconds; what expires later never does
READABLE = re.compile(r"[A-Za-z0-9_\-]{1,64}\Z")


def user_group(user_id: UserId) -> str:
    """The group of a user's sockets: ``"user.42"``, or a digest of an id that no name may hold.

    42 and ``"42"`` are the same user, ``"Ann"`` and ``"ann"`` are not. ``InvalidNameError`` (a
    ``TypeError``) for an empty id, and for what is no str, int or UUID.
    """
    text = _text("user's", user_id)
    if READABLE.match(text):
        return f"user.{text}"
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return f"user.sha256.{digest}"  # no readable id holds a dot


async def send_to_user(layer: BaseChannelLayer, user_id: UserId, message: Message) -> None:
    """Send a dict to each socket of a user, in whatever process, as ``group_send`` does."""
    await layer.group_send(user_group(user_id), message)


async def close_user(
    layer: BaseChannelLayer,
    user_id: UserId,
    code: int = SIGNED_OUT,
    reason: str = "",
    *,
    session: UserId | None = None,
) -> None:
    """Close the sockets of a user, or only those of one ``session``, in whatever process.

    A socket that is not accepted yet is refused. ``ValueError`` for a code that no endpoint may send,
    and for a reason of more than 123 bytes in UTF-8. That there is no such socket is no error.
    """
    _check_close(code, reason)
    only = None if session is None else _text("session's", session)
    message = {"type": CLOSE, "code": code, "reason": reason, "session": only}
    await layer.group_send(user_group(user_id), message)


@asynccontextmanager
async def session_end(
    layer: BaseChannelLayer,
    user_id: UserId,
    *,
    session: UserId | None = None,
    expires_at: float | None = None,
) -> AsyncIterator["asyncio.Task[None]"]:
    """For what is no socket, such as a stream of events: in the block, a task that ends with the session.

    That is at ``expires_at``, in Unix time; when ``close_user`` closes the user's sockets, or those of
    this ``session``; and where a close may have been missed, for the layer was cut off: then the client
    has to come back and show who it is. The user's group is joined when the block begins, so whoever
    must be sure looks at the session once more in it. ``ChannelLayerUnavailable`` if it cannot be joined.
    """
    delay = _seconds_until(expires_at)
    channel = await layer.new_channel()
    try:
        await layer.group_add(user_group(user_id), channel)
        over = _until_over(layer.mailbox(channel, "close"), session, delay)
        ended = asyncio.get_running_loop().create_task(over, name="session end")
        try:
            yield ended
        finally:
            ended.cancel()
    finally:
        await layer.close_channel(channel)


async def _until_over(mailbox: Mailbox, session: UserId | None, delay: float | None) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(delay):
            while not mailbox.overflowed:
                message = await mailbox.get()
                gap = message["type"] == "layer.reconnected"
                if gap or (message["type"] == CLOSE and _is_meant(message, session)):
                    return


def _is_meant(message: Message, session: UserId | None) -> bool:
    only = message.get("session")
    return only is None or (session is not None and only == str(session))


class IdentityMixin(AsyncWebsocketConsumer):
    """A WebSocket consumer that knows its user; before or behind another consumer class.

    ``user`` is whatever the app has of its user, None for a guest. ``session`` is the id of the session
    by which they came, if one of several is to be revoked. ``session_expires_at`` is Unix time in
    seconds, None for never. All three are arguments of ``serve``.

    The socket is closed with ``SESSION_EXPIRED`` or with what ``close_user`` says; ``disconnect()`` gets the
    code. One that comes with an expired session is refused without a ``connect()``, with HTTP 401; with 503
    if its group cannot be joined, for the broker is away.
    """

    user: Any = None
    session: UserId | None = None
    session_expires_at: float | None = None

    _close_loop: asyncio.AbstractEventLoop | None = None  # while the socket is there
    _close_timer: asyncio.TimerHandle | None = None
    _close_task: "asyncio.Task[None] | None" = None  # closes beside a handler
    _close_told = False  # by an event, which no renewal puts off
    _close_begun = False  # from here, of which the handlers know nothing

    @property
    def user_id(self) -> UserId | None:
        """By what others reach ``user``: itself if it is a str, int or UUID, or else its ``id``."""
        user = self.user
        if user is None or isinstance(user, UserId):
            return user
        user_id: UserId = user.id
        return user_id

    def renew_session(self, expires_at: float | None) -> None:
        """Have the open socket's session expire at another Unix time (seconds), None for never.

        The present clock counts: setting the system's time later on moves nothing. ``ValueError`` for NaN,
        ``TypeError`` for what is no number.
        """
        delay = _seconds_until(expires_at)
        self.session_expires_at = expires_at
        self._close_in(delay, SESSION_EXPIRED, "The session has expired.")

    # ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._close_loop = asyncio.get_running_loop()
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close_loop = None
            if self._close_timer is not None:
                self._close_timer.cancel()
            if self._close_task is not None and not self._close_task.done():
                self._close_task.cancel()
                await asyncio.wait([self._close_task])

    async def websocket_connect(self, message: Event) -> None:
        if _seconds_until(self.session_expires_at) == 0:
            await self.deny(401, "The session has expired.")
            return
        if (user_id := self.user_id) is not None:
            self.channel_layer.mailbox(self.channel_name).on_put = self._hear
            try:
                await self.channel_layer.group_add(user_group(user_id), self.channel_name)
            except ChannelLayerUnavailable:
                await self.deny(503, "The server is cut off for a moment.")
                return
        self.renew_session(self.session_expires_at)
        await super().websocket_connect(message)

    async def accept(
        self, subprotocol: str | None = None, headers: HeadersInput | None = None
    ) -> None:
        if not self._close_begun:
            await super().accept(subprotocol, headers)

    # A close

    @layer_event
    async def identity_close(self, message: Message) -> None:
        """What ``close_user`` sends, in its turn."""
        if self._close_loop is not None and _is_meant(message, self.session):
            await self._close_with(*_code_and_reason(message))

    def _hear(self, message: Message) -> None:
        """Whatever is put into the mailbox, in the putter's thread."""
        loop = self._close_loop
        if loop is not None and message.get("type") == CLOSE and _is_meant(message, self.session):
            loop.call_soon_threadsafe(self._close_soon, *_code_and_reason(message))

    def _close_soon(self, code: int, reason: str) -> None:
        self._close_in(PATIENCE, code, reason)
        self._close_told = True

    def _close_in(self, delay: float | None, code: int, reason: str) -> None:
        """Then, and not when it was to be closed until now; None for never."""
        if self._close_told or self._close_begun or self._close_loop is None:
            return
        if self._close_timer is not None:
            self._close_timer.cancel()
        if delay is not None:
            close = self._close_beside_handler
            self._close_timer = self._close_loop.call_later(delay, close, code, reason)

    def _close_beside_handler(self, code: int, reason: str) -> None:
        self._close_task = asyncio.create_task(self._close_or_let_go(code, reason))

    async def _close_or_let_go(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._close_with(code, reason)
        except Exception as error:
            logger.warning("Socket %s is let go, for its close fails: %r", self.channel_name, error)
            self.let_go(code)

    async def _close_with(self, code: int, reason: str) -> None:
        self._close_begun = True
        await self.close(code, reason)


def _text(whose: str, an_id: object) -> str:
    if not isinstance(an_id, UserId) or isinstance(an_id, bool) or an_id == "":
        raise InvalidNameError(
            f"A {whose} id must be a non-empty str, an int or a UUID, not {an_id!r:.100}"
        )
    return str.__str__(an_id) if isinstance(an_id, str) else str(an_id)


def _seconds_until(expires_at: object) -> float | None:
    """From now, 0 if it is past; None for never."""
    if expires_at is None:
        return None
    if not isinstance(expires_at, int | float) or isinstance(expires_at, bool):
        raise TypeError(
            f"A session expires at a Unix time in seconds, an int or float, not {expires_at!r:.100}"
        )
    if expires_at != expires_at:
        raise ValueError("A session expires at a Unix time in seconds, not at NaN")
    now = time.time()
    return None if expires_at > now + CENTURY else max(0.0, expires_at - now)


def _check_close(code: object, reason: object) -> tuple[int, str]:
    if not isinstance(reason, str) or len(reason.encode(errors="replace")) > MOST_REASON:
        raise ValueError(
            f"A close reason must be a str of at most {MOST_REASON} bytes of UTF-8, not {reason!r:.200}"
        )
    return check_close_code(code), reason


def _code_and_reason(message: Message) -> tuple[int, str]:
    """As they were sent; a close of another sender than ``close_user`` closes all the same."""
    try:
        return _check_close(message.get("code", SIGNED_OUT), message.get("reason", ""))
    except ValueError:
        return SIGNED_OUT, ""
