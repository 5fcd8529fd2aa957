"""Groups of channels that another process owns: their owner changes the membership, and says so.

A request travels to the owner's inbox as a message to the channel ``+<channel>`` (join) or
``-<channel>`` (leave), the answer to the requester's inbox as one to the channel ``=``.

Invariants
- A request returns when its owner has answered, which it does after the change has taken effect: what
  is sent to the group from then on reaches, or does not reach, the channel.
- No answer within ``timeout`` seconds, or one that tells a failure, is ``ChannelLayerUnavailable``.
- An owner works on at most ``MOST_REQUESTS`` at a time; those beyond get no answer.
- A channel that its owner has closed is in no group; to add or to discard it is no error, as it is
  none for the owner itself.
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from itertools import count

from ...exceptions import ChannelLayerUnavailable, UndecodableMessage
from ...names import check_channel_name, check_group_name
from ...tasks import cancel_and_wait

JOIN, LEAVE, ANSWER = "+", "-", "="
MOST_REQUESTS = 1000
PROCESS_ID = re.compile(r"[0-9a-f]{16}\Z")

Change = Callable[[str, str], Awaitable[None]]


class ForeignMembership:
    """Requests of one event loop, and its answers to the requests of others.

    ``post(process_id, channel, payload)`` brings a payload into the inbox of a process.
    ``changes[JOIN](group, channel)`` and ``changes[LEAVE]`` change the membership of a channel of this loop.
    """

    def __init__(
        self,
        process_id: str,
        timeout: float,
        post: Callable[[str, str, bytes], Awaitable[object]],
        changes: dict[str, Change],
    ) -> None:
        self._process_id = process_id
        self._timeout = timeout
        self._post = post
        self._changes = changes
        self._numbers = count(1)
        self._unanswered: dict[str, asyncio.Future[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def request(self, mark: str, group: str, channel: str, owner: str) -> None:
        """Have the owner change the membership; the loop must listen to its own inbox."""
        number = str(next(self._numbers))
        answer = self._unanswered[number] = asyncio.get_running_loop().create_future()
        payload = f"{self._process_id} {number} {group}".encode()
        try:
            async with asyncio.timeout(self._timeout):
                await self._post(owner, mark + channel, payload)
                failure = await answer
        except TimeoutError:
            raise ChannelLayerUnavailable(
                f"The process that owns channel {channel} did not confirm within {self._timeout} s "
                f"that its membership in group {group} has changed"
            ) from None
        finally:
            del self._unanswered[number]
        if failure:
            raise ChannelLayerUnavailable(
                f"The process that owns channel {channel} could not change its membership in group "
                f"{group}: {failure}"
            )

    def receive(self, channel: str, payload: bytes) -> None:
        """A message to one of the three names; ``UndecodableMessage`` for what none of us sends."""
        try:
            if channel == ANSWER:
                self._answered(payload.decode())
            else:
                self._requested(channel[:1], channel[1:], payload.decode("ascii"))
        except (ValueError, TypeError) as error:
            raise UndecodableMessage(f"No request or answer of a membership: {error}") from error

    def _answered(self, text: str) -> None:
        number, _, failure = text.partition(" ")
        answer = self._unanswered.get(number)
        if answer is not None and not answer.done():  # else the requester has given up
            answer.set_result(failure)

    def _requested(self, mark: str, channel: str, text: str) -> None:
        requester, number, group = text.split(" ")
        check_group_name(group)
        check_channel_name(channel)
        if not PROCESS_ID.match(requester):
            raise ValueError(f"{requester!r} is the id of no process")
        if len(self._tasks) < MOST_REQUESTS:  # else the requester gets no answer in time
            work = self._change(self._changes[mark], group, channel, requester, number)
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _change(
        self, change: Change, group: str, channel: str, requester: str, number: str
    ) -> None:
        failure = ""
        try:
            await change(group, channel)
        except ChannelLayerUnavailable as error:
            failure = str(error)
        with contextlib.suppress(ChannelLayerUnavailable):  # the requester is told by its timeout
            await self._post(requester, ANSWER, f"{number} {failure}".encode())

    async def aclose(self) -> None:
        await cancel_and_wait(self._tasks)
