"""What every channel layer is: the names it accepts, its capacities, its methods.

The interface is that of the Django Channels channel layer specification. A concrete layer adds how
messages travel; all of them share delivery inside the process (``groups``) and mailboxes.
"""

import fnmatch
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from .. import names
from ..mailbox import Mailbox, Message, Overflow
from ..messages import require_dict
from .history import MOST_MESSAGES, Joined


class BaseChannelLayer:
    """Names, capacities and the abstract operations of a channel layer.

    ``expiry`` (seconds) bounds how long a message waits unread. ``capacity`` is the number of
    messages that each channel holds; ``channel_capacity`` maps a shell-style glob or a compiled
    pattern of channel names to another number, the first match counts.
    """

    MAX_NAME_LENGTH: ClassVar[int] = names.MAX_NAME_LENGTH
    channel_name_regex: ClassVar[re.Pattern[str]] = names.CHANNEL_NAME
    group_name_regex: ClassVar[re.Pattern[str]] = names.GROUP_NAME
    invalid_name_error: ClassVar[str] = (
        "{} name must be a valid unicode string "
        f"with length < {names.MAX_NAME_LENGTH} containing only ASCII alphanumerics, hyphens, "
        "underscores, or periods"
    )
    extensions: ClassVar[list[str]] = []

    def __init__(
        self,
        expiry: float = 60,
        capacity: int = 100,
        channel_capacity: Mapping[str | re.Pattern[str], int] | None = None,
    ) -> None:
        if expiry <= 0:
            raise ValueError(f"expiry must be a number of seconds above 0, not {expiry!r}")
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1 message, not {capacity!r}")
        self.expiry = expiry
        self.capacity = capacity
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self.parts: dict[type, Any] = {}  # what features keep for the layer, by a class of theirs

    # Rules

    def compile_capacities(
        self, channel_capacity: Mapping[str | re.Pattern[str], int]
    ) -> list[tuple[re.Pattern[str], int]]:
        """``{"http.*": 10, re.compile("^a"): 20}`` as patterns."""
        return [
            (re.compile(fnmatch.translate(key)) if isinstance(key, str) else key, capacity)
            for key, capacity in channel_capacity.items()
        ]

    def get_capacity(self, channel: str) -> int:
        """That of the first pattern that matches ``channel``, else the layer's."""
        for pattern, capacity in self.channel_capacity:
            if pattern.match(channel):
                return capacity
        return self.capacity

    def match_type_and_length(self, name: object) -> bool:
        return names.has_valid_length(name)

    def require_valid_channel_name(self, name: str, receive: bool = False) -> bool:
        """Return True, or raise ``InvalidNameError`` (a ``TypeError``).

        With ``receive``, a process-local name must end at its ``!``, as the channel layer
        specification asks of a server that receives for all its channels at once.
        """
        names.check_channel_name(name)
        if receive and "!" in name and not name.endswith("!"):
            raise names.invalid("Channel", name)
        return True

    def require_valid_group_name(self, name: str) -> bool:
        """Return True, or raise ``InvalidNameError`` (a ``TypeError``)."""
        names.check_group_name(name)
        return True

    require_valid_message = staticmethod(require_dict)

    def require_joinable(self, group: str, channel: str, since: object, history: object) -> None:
        """``TypeError`` or ``ValueError`` unless ``join()`` takes them."""
        if since is not None and not isinstance(since, str):
            raise TypeError(
                f"since must be a position, which is a str, or None, not {since!r:.200}"
            )
        if not isinstance(history, int) or not 0 <= history <= MOST_MESSAGES:
            raise ValueError(
                f"history must be a number of messages from 0 to {MOST_MESSAGES}, not {history!r:.200}"
            )
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)

    def non_local_name(self, name: str) -> str:
        """``"specific.a1!b2"`` → ``"specific.a1!"``; a name without ``!`` is returned unchanged."""
        head, mark, _ = name.partition("!")
        return head + mark

    # Operations

    async def send(self, channel: str, message: Message) -> None:
        """Send a dict to one channel; ``ChannelFull`` if a named channel is at its capacity."""
        raise NotImplementedError(f"{type(self).__name__} cannot send")

    async def receive(self, channel: str) -> Message:
        """Wait for a message of ``channel``; cancelling the wait loses none."""
        raise NotImplementedError(f"{type(self).__name__} cannot receive")

    async def new_channel(self, prefix: str = "specific.") -> str:
        """The name of a new channel that this process owns, to receive on and to add to groups."""
        raise NotImplementedError(f"{type(self).__name__} cannot make channels")

    async def group_add(self, group: str, channel: str) -> None:
        """Make ``channel`` a member; what is sent to the group after this returns reaches it."""
        raise NotImplementedError(f"{type(self).__name__} has no groups")

    async def group_discard(self, group: str, channel: str) -> None:
        """End a membership; not being a member is no error."""
        raise NotImplementedError(f"{type(self).__name__} has no groups")

    async def group_send(self, group: str, message: Message) -> None:
        """Send a dict to every member of the group; a member at its capacity misses it."""
        raise NotImplementedError(f"{type(self).__name__} has no groups")

    async def flush(self) -> None:
        """Forget every message and group, wherever they are. For tests."""
        raise NotImplementedError(f"{type(self).__name__} cannot flush")

    # What consumers and apps use beyond the specification

    async def join(
        self, group: str, channel: str, *, since: str | None = None, history: int = 0
    ) -> Joined:
        """As ``group_add`` for a channel of this process, and in one step what the group has said.

        ``since`` is the last position that the receiver has, ``""`` if it had none, or None if it is
        new. ``history`` is how many of the last messages it wants, up to 1000, where it is new or what
        it missed is not to be had. From then on each event of the group has its position under
        ``fast_channels.layers.POSITION``. A layer that keeps no history brings none, and no positions.
        """
        self.require_joinable(group, channel, since, history)
        await self.group_add(group, channel)
        return Joined([], complete=since is None, position="")

    def mailbox(self, channel: str, overflow: Overflow | None = None) -> Mailbox:
        """The buffer of a channel that ``new_channel()`` made here, to take from without a task."""
        raise NotImplementedError(f"{type(self).__name__} has no mailboxes")

    async def close_channel(self, channel: str) -> None:
        """Leave all groups and forget the channel; what waits in it is dropped. Never raises."""
        raise NotImplementedError(f"{type(self).__name__} has no channels")

    async def open(self) -> None:
        """Start what the layer needs in the background; an unreachable broker is no error."""

    async def aclose(self) -> None:
        """End every connection and task of the running loop. The layer may be opened again."""

    async def __aenter__(self) -> "BaseChannelLayer":
        await self.open()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await self.aclose()
