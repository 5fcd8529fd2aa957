"""What a receiver missed of a group, from the group's log: joining it where the receiver has left it.

Words
- An event's *place*, which receivers keep as their position, is ``epoch.id.tag``. The id is that of the log
  entry that brought it, or of the last one of its publication; the tag is half of its uid, so that no
  entry of another log, or of the log's past, is taken for it.
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
import re
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from ...exceptions import ChannelLayerUnavailable, ChannelNotOwned, UndecodableMessage
from ...mailbox import Message
from ...tasks import cancel_and_wait
from ..groups import copier
from ..history import MOST_BYTES, MOST_MESSAGES, MOST_POSITION, POSITION, History, Joined
from ..idle import IdleNames
from .client.commands import Commands, Script
from .format import decode_one, number_of
from .group_log import LUA, EntryId, GroupLog, Position, format_id, parse_id
from .loop_layer import LoopLayer

AT_ONCE = 32
WARM = 2.0  # seconds
MOST_WARM = 16  # replays of one topic, and
HELD = 200  # events that one of them takes up in that time
TOO_LATE = 0.05  # seconds after which a notification of what was read is taken for lost
LOOK = 0.002  # seconds between two looks whether it has come
TURN = 50  # messages that are decoded before the loop goes on
MASK = (1 << 32) - 1

Since = tuple[str, str, int, int]  # epoch, id, and the halves of the tag
NOTHING: Since = ("", "0-0", 0, 0)
HISTORY = Script(LUA / "epoch.lua", LUA / "history.lua")

HEX = "[0-9a-fA-F]"
PLACE = re.compile(rf"({HEX}+)\.([0-9]{{1,19}}-[0-9]{{1,19}})\.({HEX}{{8}})({HEX}{{8}})")


def format_position(epoch: str, entry: str, sender: int, counter: int) -> str:
    return f"{epoch}.{entry}.{sender:08x}{counter:08x}"


def tag_of(uid: int) -> tuple[int, int]:
    return uid >> 64 & MASK, uid & MASK


def parse_position(text: str | None) -> Since:
    """``NOTHING`` for what is none: it may come from any client."""
    if text is None or len(text) > MOST_POSITION or not (found := PLACE.fullmatch(text)):
        return NOTHING
    epoch, entry, sender, counter = found.groups()
    return epoch, entry, int(sender, 16), int(counter, 16)


Indexed = tuple[bytes, int]  # the uid of an envelope, and an index as in ``format.decode``


@dataclass(frozen=True, slots=True)
class Found:
    """What ``read_history`` found in a log."""

    epoch: str
    complete: bool  # all that came after the position is here
    newest: bytes  # id of the newest entry, and
    tag: tuple[int, int]
    is_message: bool
    before: list[Indexed]  # uids of some entries before the first one here
    entries: list[tuple[bytes, bytes, int]]  # ids, envelopes and indices


async def read_history(
    server: Commands, topic: str, since: tuple[str, str, int, int], *values: bytes | int
) -> Found:
    """``since``: an epoch, the id of an entry, and its tag. The ``values`` behind it are as in the script."""
    reply = await HISTORY.run(server, (topic,), *since, *values)
    epoch, complete, newest, sender, counter, is_message, uids, *entries = reply
    return Found(
        epoch.decode(),
        bool(complete),
        newest,
        (sender, counter),
        bool(is_message),
        list(zip(uids[::2], uids[1::2], strict=True)),
        list(zip(entries[::3], entries[1::3], entries[2::3], strict=True)),
    )


# The entry's id, the uid, what makes a receiver's own copy. The epoch that completes its place is the
# replay's: when an event is heard, it may not be known yet.
Event = tuple[EntryId, int, Callable[[], Message]]
Key = tuple[str | None, int]  # what receivers ask for: ``since``, and how much ``history``


@dataclass(eq=False)
class Replay:
    group: str
    topic: str
    key: Key
    # By channel; settled with the number of events that are held.
    waiters: dict[str, asyncio.Future[int]] = field(default_factory=dict)
    read: list[Event] = field(default_factory=list)
    held: list[Event] = field(default_factory=list)  # what came after that
    begun: bool = False
    complete: bool = False
    position: str = ""  # of the newest entry that was read
    epoch: str = ""
    settled: bool = False
    task: "asyncio.Task[None] | None" = None

    def joined(self, held: int) -> Joined:
        messages = []
        for entry, uid, make in [*self.read, *self.held[:held]]:
            message = make()
            message[POSITION] = format_position(self.epoch, format_id(entry), *tag_of(uid))
            messages.append(message)
        position = messages[-1][POSITION] if held else self.position
        return Joined(messages, self.complete, position)


class Interest:
    """In one topic."""

    def __init__(self, forget: Callable[[Replay], bool]) -> None:
        self.subscribing = asyncio.Lock()
        self.replays: dict[Key, Replay] = {}
        self.warm = IdleNames(forget, after=WARM, most=MOST_WARM)


class GroupHistory(GroupLog):
    """A ``GroupLog`` whose groups can be joined where a receiver has left them."""

    def __init__(self, owner: LoopLayer, kept: Callable[[str], History]) -> None:
        super().__init__(owner, kept)
        # The inbox is as new as the process id in its name: all that its log holds is for us.
        self._positions[owner.inbox] = Position(owner.inbox, 0)
        self._local = owner.local
        self._interests = defaultdict[str, Interest](lambda: Interest(self._forget))  # by topic
        self._room = asyncio.Semaphore(AT_ONCE)

    # Events

    def _deliver_event(
        self, position: Position, entry: EntryId, group: str, message: Message, uid: int
    ) -> None:
        if replays := list(self._interests[position.topic].replays.values()):
            event = (entry, uid, copier(message.copy()))
            for replay in replays:
                self._hold(replay, event)
        place = format_position(position.epoch, format_id(entry), *tag_of(uid))
        self._local.deliver_event(group, message, place)

    def _hold(self, replay: Replay, event: Event) -> None:
        if not replay.begun:
            return
        if len(replay.held) < (HELD if replay.settled else MOST_MESSAGES):
            replay.held.append(event)
        else:
            self._fail(replay, f"it said {MOST_MESSAGES} messages in the meantime")

    def ignore(self, topic: str) -> None:
        super().ignore(topic)
        if (interest := self._interests.pop(topic, None)) is not None:
            interest.warm.close()
            for replay in interest.replays.values():
                self._fail(replay, "it was left in the meantime")

    # Joining

    async def join_at(self, group: str, channel: str, since: str | None, history: int) -> Joined:
        """As ``BaseChannelLayer.join``, for a channel of this loop."""
        topic = self._owner.config.topics.group(group)
        was_member = channel in self._local.members.get(group, ())
        self._local.follow(group, channel, ready=was_member)
        timeout = self._owner.config.timeout
        try:
            async with asyncio.timeout(timeout):
                # The first one subscribes; the others need not ask for it all at the same time.
                async with self._interests[topic].subscribing:
                    position = self._positions.setdefault(topic, Position(topic))
                    position.deliver_event = partial(self._deliver_event, position)
                    await self._owner.join(group, channel)
                replay = self._replay(group, topic, (since, history))
                waiter = replay.waiters[channel] = asyncio.get_running_loop().create_future()
                if replay.settled:
                    self._settle(replay)
                return replay.joined(await waiter)
        except BaseException as error:
            if not was_member:
                self._local.unfollow(group, channel)
                await self._owner.group_discard(group, channel)
            if isinstance(error, TimeoutError):
                raise ChannelLayerUnavailable(
                    f"Group {group} was not joined within {timeout} s"
                ) from None
            raise

    def _replay(self, group: str, topic: str, key: Key) -> Replay:
        """One that reads or is warm, if it is for the same, else a new one."""
        replays = self._interests[topic].replays
        replay = replays.get(key)
        if replay is None or (replay.settled and not self._is_current(replay)):
            replay = replays[key] = Replay(group, topic, key)
            replay.task = asyncio.create_task(self._run(replay))
        return replay

    def _is_current(self, replay: Replay) -> bool:
        position = self._positions.get(replay.topic)
        return position is not None and position.behind is None and position.epoch == replay.epoch

    async def _run(self, replay: Replay) -> None:
        try:
            async with asyncio.timeout(self._owner.config.timeout):
                while not await self._read_log(replay):
                    pass
        except Exception as error:
            self._fail(replay, error if str(error) else type(error).__name__)

    async def _read_log(self, replay: Replay) -> bool:
        """False if it has to be read again: something is in the log that nobody has notified."""
        topic, (since, history) = replay.topic, replay.key
        async with self._room:
            replay.begun = True
            replay.held.clear()
            found = await read_history(
                self._owner.commands_of(topic),
                topic,
                parse_position(since),
                history,
                MOST_MESSAGES,
                MOST_BYTES,
                self._owner.uids.make(),
                int(self._kept(topic).seconds * 1000),
            )
        replay.epoch = found.epoch
        replay.position = format_position(found.epoch, found.newest.decode(), *found.tag)
        await self._decode(replay, found)
        newest = parse_id(found.newest)
        position = await self._reach(topic, newest if found.is_message else 0)
        if position is None:
            return False
        position.epoch = found.epoch
        replay.held = [event for event in replay.held if event[0] > newest]
        # Its sender may still repeat what is from before the joining.
        self._seen.add([uid for entry, uid, _ in replay.read if position.has_not_heard(entry)])
        self._settle(replay)
        return True

    async def _decode(self, replay: Replay, found: Found) -> None:
        replay.complete = found.complete or replay.key[0] is None
        replay.read = []
        seen = {number_of(uid) + index for uid, index in found.before}
        for number, (entry, envelope, index) in enumerate(found.entries):
            if number % TURN == TURN - 1:
                await asyncio.sleep(0)
            try:
                sealed = decode_one(envelope, index)
                uid = sealed[2]
                if uid not in seen:
                    seen.add(uid)
                    message = self._owner.open(replay.topic, sealed)
                    replay.read.append((parse_id(entry), uid, copier(message)))
            except UndecodableMessage as error:
                self._owner.undecodable.add(error)
                replay.complete = False

    async def _reach(self, topic: str, entry: EntryId) -> Position | None:
        """When the log has handed out all up to this entry; None if that does not happen soon."""
        began = time.monotonic()
        fell_behind = False
        while (position := self._positions.get(topic)) is not None:
            if position.behind is None and position.last >= entry:
                return position
            waited = time.monotonic() - began
            if waited > TOO_LATE and position.behind is None:
                if fell_behind:
                    break
                fell_behind = True
                self.fall_behind(position)
            await asyncio.sleep(LOOK if waited < TOO_LATE else 10 * LOOK)
        return None

    # What becomes of a replay

    def _settle(self, replay: Replay) -> None:
        """Its receivers get what it has read, and are delivered to from now on; for some time it is for
        others as well.
        """
        replay.settled = True
        if (interest := self._interests.get(replay.topic)) is not None:
            interest.warm.leave(replay)
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

    def _fail(self, replay: Replay, reason: object) -> None:
        self._forget(replay)
        if replay.task is not None:
            replay.task.cancel()
        for waiter in replay.waiters.values():
            if not waiter.done():
                error = ChannelLayerUnavailable(f"Group {replay.group} was not joined: {reason}")
                waiter.set_exception(error)

    def _forget(self, replay: Replay) -> bool:
        interest = self._interests.get(replay.topic)
        if interest is not None and interest.replays.get(replay.key) is replay:
            del interest.replays[replay.key]
        return True

    async def aclose(self) -> None:
        tasks = [r.task for i in self._interests.values() for r in i.replays.values() if r.task]
        for topic in list(self._interests):
            self.ignore(topic)
        await cancel_and_wait(tasks)
        await super().aclose()
