"""What a receiver missed of a group, from the group's log: joining it where the receiver has left it.

Words
- An event's *place* is ``epoch.id.tag``: the position that receivers keep. The id is that of the log entry
  that brought it, or of the last one of its publication; the tag is half of its uid, so that no entry of
  another log, or of another log's past, is taken for it.
- An epoch is the reign of one primary (``lua/epoch.lua``).

Invariants
- *Complete* is what one script saw in one step: the entry of ``since`` stands in the log, in the epoch of
  ``since``, and all behind it was read. A log that was trimmed, emptied or restored, or that another
  primary has taken over, does not have that entry or not that epoch. What cannot be decoded is missing.
- A replay is one reading of a log, for all that ask for the same, each within ``WARM`` seconds of the one
  before. It *settles* in one step, when all that it has read was handed out by the log's own strategy as
  well: its messages are then the entries that were read, and the events that came after those. From that
  step on its receivers are delivered to. So nothing is delivered twice, and nothing between the two is lost.
- A receiver that is not settled is a member, which keeps the subscription, and nothing is delivered to it.
- A topic is of interest here while it is listened to; then it, its replays and its epoch are forgotten.
- A replay reads at most ``MOST_MESSAGES`` and ``MOST_BYTES``, ``AT_ONCE`` of them do at a time, and it ends
  within the layer's timeout.
"""

import asyncio
import string
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Any

from ...exceptions import ChannelLayerUnavailable, ChannelNotOwned, UndecodableMessage
from ...mailbox import Message
from ...tasks import cancel_and_wait
from ..groups import copier
from ..history import MOST_BYTES, MOST_MESSAGES, MOST_POSITION, POSITION, History, Joined
from . import scripts
from .format import decode, number_of, with_uid_after
from .group_log import EntryId, GroupLog, Position, parse_id
from .loop_layer import LoopLayer

AT_ONCE = 32
WARM = 2.0  # seconds
MOST_WARM = 16  # replays of one topic, and
HELD = 200  # events that one of them takes up in that time
TOO_LATE = 0.05  # seconds after which a notification of what was read is taken for lost
LOOK = 0.002  # seconds between two looks whether it has come
TURN = 50  # messages that are decoded before the loop goes on
MASK = (1 << 32) - 1

Since = tuple[str, str, int, int]  # epoch, id, tag
NOTHING: Since = ("", "0-0", 0, 0)


def format_position(epoch: str, entry: str, sender: int, counter: int) -> str:
    return f"{epoch}.{entry}.{sender:08x}{counter:08x}"


def parse_position(text: str | None) -> Since:
    """``NOTHING`` for what is none: it may come from any client."""
    epoch, entry, tag = (*(text or "").split("."), "", "", "")[:3]
    if not epoch or len(text or "") > MOST_POSITION or len(tag) != 16:
        return NOTHING
    if not (set(epoch) | set(tag)) <= set(string.hexdigits):
        return NOTHING
    try:
        parse_id(entry.encode())
    except (UndecodableMessage, UnicodeEncodeError):
        return NOTHING
    return epoch, entry, int(tag[:8], 16), int(tag[8:], 16)


def tag_of(number: int) -> tuple[int, int]:
    """Of a message's uid."""
    return number >> 64 & MASK, number & MASK


# The entry's id, as it was sent and as a number; the tag; what makes a receiver's own copy. The epoch that
# completes its place is the replay's: when an event is heard, it may not be known yet.
Event = tuple[str, EntryId, tuple[int, int], Callable[[], Message]]


@dataclass(eq=False)
class Replay:
    """``since`` is as a receiver gave it."""

    group: str
    topic: str
    since: str | None
    history: int
    # By channel; settled with the number of events that are held.
    waiters: dict[str, asyncio.Future[int]] = field(default_factory=dict)
    read: list[Event] = field(default_factory=list)
    held: list[Event] = field(default_factory=list)  # what came after that
    complete: bool = False
    position: str = ""  # of the newest entry that was read
    epoch: str = ""
    settled: bool = False
    used_at: float = 0.0
    task: "asyncio.Task[None] | None" = None

    def joined(self, held: int) -> Joined:
        messages = []
        for entry, _, tag, make in [*self.read, *self.held[:held]]:
            message = make()
            message[POSITION] = format_position(self.epoch, entry, *tag)
            messages.append(message)
        position = messages[-1][POSITION] if held else self.position
        return Joined(messages, self.complete, position)


@dataclass(eq=False)
class Interest:
    """In one topic."""

    subscribing: asyncio.Lock = field(default_factory=asyncio.Lock)
    replays: dict[tuple[str | None, int], Replay] = field(default_factory=dict)
    holding: dict[Replay, None] = field(default_factory=dict)  # those that read, or are warm


class GroupHistory:
    """``Followed``, for one loop. ``kept`` says how much of a topic its log keeps."""

    def __init__(
        self, owner: LoopLayer[Any], log: GroupLog, kept: Callable[[str], History]
    ) -> None:
        self._owner = owner
        self._local = owner.local
        self._log = log
        self._kept = kept
        self._interests: dict[str, Interest] = {}  # by topic
        self.topics: Container[str] = self._interests
        self._room = asyncio.Semaphore(AT_ONCE)

    # Events

    def deliver(
        self, group: str, topic: str, message: Message, notification: bytes, number: int
    ) -> None:
        identifier, _, _ = notification.partition(b" ")
        entry, tag = identifier.decode(), tag_of(number)
        if holding := self._interests[topic].holding:
            event = (entry, parse_id(identifier), tag, copier(message.copy()))
            for replay in list(holding):
                self._hold(replay, event)
        position = self._log.position_of(topic)
        epoch = "" if position is None else position.epoch
        self._local.deliver_event(group, message, format_position(epoch, entry, *tag))

    def _hold(self, replay: Replay, event: Event) -> None:
        if len(replay.held) < (HELD if replay.settled else MOST_MESSAGES):
            replay.held.append(event)
        else:
            self._fail(replay, f"it said {MOST_MESSAGES} messages in the meantime")

    def leave(self, topic: str) -> None:
        self._log.followed.discard(topic)
        if (interest := self._interests.pop(topic, None)) is not None:
            for replay in list(interest.replays.values()):
                self._fail(replay, "it was left in the meantime")

    # Joining

    async def join(self, group: str, channel: str, since: str | None, history: int) -> Joined:
        topic = self._owner.config.topics.group(group)
        was_member = channel in self._local.members.get(group, ())
        self._local.follow(group, channel, ready=was_member)
        timeout = self._owner.config.timeout
        try:
            async with asyncio.timeout(timeout):
                # The first one subscribes; the others need not ask for it all at the same time.
                async with self._interests.setdefault(topic, Interest()).subscribing:
                    await self._owner.join(group, channel)
                return await self._replayed(group, topic, channel, since, history)
        except BaseException as error:
            if not was_member:
                self._local.unfollow(group, channel)
                await self._owner.group_discard(group, channel)
            if isinstance(error, TimeoutError):
                raise ChannelLayerUnavailable(
                    f"Group {group} was not joined within {timeout} s"
                ) from None
            raise

    async def _replayed(
        self, group: str, topic: str, channel: str, since: str | None, history: int
    ) -> Joined:
        self._log.followed.add(topic)
        replay = self._replay(group, topic, since, history)
        waiter = replay.waiters[channel] = asyncio.get_running_loop().create_future()
        if replay.settled:
            self._settle(replay)
        return replay.joined(await waiter)

    def _replay(self, group: str, topic: str, since: str | None, history: int) -> Replay:
        """One that reads or is warm, if it is for the same, else a new one."""
        replays = self._interests.setdefault(topic, Interest()).replays
        replay = replays.get((since, history))
        if replay is not None and replay.settled and not self._is_current(replay):
            self._forget(replay)
            replay = None
        if replay is None:
            replay = replays[since, history] = Replay(group, topic, since, history)
            replay.task = asyncio.create_task(self._run(replay))
        return replay

    def _is_current(self, replay: Replay) -> bool:
        position = self._log.position_of(replay.topic)
        return position is not None and position.behind is None and position.epoch == replay.epoch

    async def _run(self, replay: Replay) -> None:
        try:
            async with asyncio.timeout(self._owner.config.timeout):
                while not await self._read(replay):
                    pass
        except Exception as error:
            self._fail(replay, error if str(error) else type(error).__name__)

    async def _read(self, replay: Replay) -> bool:
        """False if it has to be read again: something is in the log that nobody has notified."""
        async with self._room:
            self._interests[replay.topic].holding[replay] = None
            replay.held.clear()
            found = await scripts.history(
                self._owner.commands_of(replay.topic),
                replay.topic,
                parse_position(replay.since),
                replay.history,
                most=MOST_MESSAGES,
                most_bytes=MOST_BYTES,
                uid=self._owner.uids.make(),
                expiry_ms=int(self._kept(replay.topic).seconds * 1000),
            )
        replay.epoch = found.epoch
        replay.position = format_position(found.epoch, found.newest.decode(), *found.tag)
        uids = await self._decode(replay, found)
        newest = parse_id(found.newest)
        position = await self._reach(replay.topic, newest if found.is_message else 0)
        if position is None:
            return False
        position.epoch = found.epoch
        replay.held = [event for event in replay.held if event[1] > newest]
        self._log.handed_out([uid for entry, uid in uids if position.has_not_heard(entry)])
        self._settle(replay)
        return True

    async def _decode(self, replay: Replay, found: scripts.Found) -> list[tuple[EntryId, int]]:
        """Takes over what was found; returns the ids of its entries, and its messages' uids."""
        replay.complete = found.complete or replay.since is None
        seen = {number_of(uid) + index for uid, index in found.before}
        uids: list[tuple[EntryId, int]] = []
        replay.read = []
        for number, (entry, envelope, index) in enumerate(found.entries):
            if number % TURN == TURN - 1:
                await asyncio.sleep(0)
            try:
                sealed = decode(with_uid_after(envelope, index)).single
            except (ValueError, OverflowError) as error:  # somebody else's
                self._owner.undecodable.add(error)
                replay.complete = False
                continue
            uid = sealed[2]
            if uid in seen:
                continue
            seen.add(uid)
            message = self._owner.deserialize(replay.topic, *sealed)
            if message is None:
                replay.complete = False
                continue
            entry_id = parse_id(entry)
            replay.read.append((entry.decode(), entry_id, tag_of(uid), copier(message)))
            uids.append((entry_id, uid))
        return uids

    async def _reach(self, topic: str, entry: EntryId) -> Position | None:
        """When the log has handed out all up to this entry; None if that does not happen soon."""
        began = time.monotonic()
        fell_behind = False
        while (position := self._log.position_of(topic)) is not None:
            if position.behind is None and position.last >= entry:
                return position
            waited = time.monotonic() - began
            if waited > TOO_LATE and position.behind is None:
                if fell_behind:
                    break
                fell_behind = True
                self._log.fall_behind(topic, position)
            await asyncio.sleep(LOOK if waited < TOO_LATE else 10 * LOOK)
        return None

    # What becomes of a replay

    def _settle(self, replay: Replay) -> None:
        replay.used_at = time.monotonic()
        if not replay.settled:
            replay.settled = True
            asyncio.get_running_loop().call_later(WARM, self._cool, replay)
            warm = [one for one in self._interests[replay.topic].holding if one.settled]
            if len(warm) > MOST_WARM:
                self._forget(warm[0])
        waiters, replay.waiters = replay.waiters, {}
        members = self._local.members.get(replay.group, {})
        for channel, waiter in waiters.items():
            if waiter.done():
                continue
            if channel in members:
                self._local.follow(replay.group, channel, ready=True)
                waiter.set_result(len(replay.held))
            else:  # it was closed, or has left, while it waited
                waiter.set_exception(ChannelNotOwned(channel))

    def _cool(self, replay: Replay) -> None:
        """Forget it if nobody has come for it lately."""
        rest = replay.used_at + WARM - time.monotonic()
        if rest > 0:
            asyncio.get_running_loop().call_later(rest, self._cool, replay)
        else:
            self._forget(replay)

    def _fail(self, replay: Replay, reason: object) -> None:
        self._forget(replay)
        for waiter in replay.waiters.values():
            if not waiter.done():
                error = ChannelLayerUnavailable(f"Group {replay.group} was not joined: {reason}")
                waiter.set_exception(error)

    def _forget(self, replay: Replay) -> None:
        if (interest := self._interests.get(replay.topic)) is not None:
            interest.holding.pop(replay, None)
            if interest.replays.get((replay.since, replay.history)) is replay:
                del interest.replays[replay.since, replay.history]

    async def aclose(self) -> None:
        tasks = [r.task for i in self._interests.values() for r in i.replays.values() if r.task]
        for topic in list(self._interests):
            self.leave(topic)
        await cancel_and_wait(tasks)
