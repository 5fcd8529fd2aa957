"""What one client may use up: frames of a socket, rooms of an address. In memory, per process.

How many jobs of a user may be under way, all processes together, is counted in ``jobs.py``.

Invariants: each object holds a bounded amount, whatever clients do; time only ever gives back.
"""

import ipaddress
import logging
import time
from functools import cache, cached_property

from starlette.requests import HTTPConnection

from fast_channels.frames import FrameConsumer, Refused

from .settings import get_settings

logger = logging.getLogger(__name__)

BURST_SECONDS = 10  # worth of frames that a socket may send at once, as after a reconnection
ROOM_WINDOW = 3600.0  # seconds
MOST_ADDRESSES = 2_000  # whose rooms are remembered; the one that came first is forgotten first
TOO_MANY_ROOMS = "Too many rooms were opened from your address; please try again later."


class TokenBucket:
    """Lets `burst` through at once and `rate` in a second from then on."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = self._tokens = burst
        self._at = time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class PacedConsumer(FrameConsumer):
    """The base of each socket: a client may send so many frames (FRAMES_PER_SECOND), wrong ones, too."""

    @cached_property
    def pace(self) -> TokenBucket:
        rate = get_settings().frames_per_second
        return TokenBucket(rate, rate * BURST_SECONDS)

    async def before_frame(self) -> None:
        if not self.pace.take():
            raise Refused("That was too much at once; please wait a moment.", "too_fast")


class RoomLimit:
    """How many distinct rooms one address may name in a `window` of seconds; each makes a log in Redis.

    A room that the address has named already costs nothing, so that a whole office can come back
    after a restart. An unknown address, as behind a Unix socket, is not limited.
    """

    def __init__(self, limit: int, window: float = ROOM_WINDOW) -> None:
        self._limit = limit
        self._window = window
        self._since = time.monotonic()
        self._named: dict[str, set[str]] = {}

    def admit(self, host: str | None, room: str) -> bool:
        if host is None:
            return True
        rooms = self._rooms_of(network_of(host))
        if room in rooms:
            return True
        if len(rooms) == self._limit:
            logger.warning(
                "%s named %d rooms within %d s and gets no other (ROOMS_PER_ADDRESS). Is it your "
                "proxy? Then name it in FORWARDED_ALLOW_IPS, so that each client has its own address",
                host,
                self._limit,
                self._window,
            )
            rooms.add("")  # no room's name: one line in the log is enough for this window
        if len(rooms) > self._limit:
            return False
        rooms.add(room)
        return True

    def _rooms_of(self, network: str) -> set[str]:
        now = time.monotonic()
        if now - self._since >= self._window:
            self._since = now
            self._named.clear()
        rooms = self._named.setdefault(network, set())
        if len(self._named) > MOST_ADDRESSES:
            del self._named[next(iter(self._named))]
        return rooms


def network_of(host: str) -> str:
    """An IPv6 client owns a whole /64; of other addresses each counts for itself."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(ipaddress.ip_network((address.packed, 64), strict=False))


@cache
def get_room_limit() -> RoomLimit:
    return RoomLimit(get_settings().rooms_per_address)


def may_name(room: str, connection: HTTPConnection) -> bool:
    """Whether the client of a request or a socket may name this room."""
    client = connection.client
    return get_room_limit().admit(client.host if client else None, room)
