"""Jobs that failed for good: ``python -m`` this module lists them, tries them again or deletes them."""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

from fast_channels.exceptions import (
    ChannelFull,
    ChannelLayerUnavailable,
    InvalidNameError,
    UndecodableMessage,
)
from fast_channels.layers import DeadLetter, InspectableWorkQueue

from .layers import make_layers
from .settings import Settings, get_settings

EPILOG = """\
  list         each letter in a line: id, time, attempts, type of the message, reason (the default)
  show ID…     the letter, whole, as JSON
  replay ID…   put it back into the queue, as if it had not been tried yet; or all, with --all
  discard ID…  delete it; or all, with --all
  depth        how many jobs wait, are in work, are dead letters

The exit status is 0 if all was done, 1 if a letter was not there or could not be replayed or Redis
did not answer, 2 for wrong arguments.
"""
PAGE = 100  # letters that are fetched at once

Act = Callable[[DeadLetter], Awaitable[bool]]


class Desk:
    """The dead letters of one channel, and what can be done about them."""

    def __init__(self, queue: InspectableWorkQueue, channel: str) -> None:
        self._queue = queue
        self._channel = channel

    async def list(self) -> bool:
        count = 0
        async for letter in self._letters():
            count += 1
            print(line(letter))
        print(f"{count} dead letter(s) in {self._channel}", file=sys.stderr)
        return True

    async def show(self, wanted: set[str]) -> bool:
        async def show(letter: DeadLetter) -> bool:
            print(as_json(letter))
            return True

        return await self._each(show, wanted)

    async def replay(self, wanted: set[str]) -> bool:
        async def replay(letter: DeadLetter) -> bool:
            try:
                return await self._queue.replay(self._channel, letter)
            except (ChannelFull, UndecodableMessage) as error:
                print(f"{letter.id} stays: {error}", file=sys.stderr)
                return False

        return await self._each(replay, wanted, "replayed")

    async def discard(self, wanted: set[str]) -> bool:
        async def discard(letter: DeadLetter) -> bool:
            return await self._queue.discard(self._channel, letter)

        return await self._each(discard, wanted, "discarded")

    async def depth(self) -> bool:
        depth = await self._queue.depth(self._channel)
        print(f"waiting {depth.waiting}\nin work {depth.leased}\ndead    {depth.dead}")
        return True

    async def _each(self, act: Act, wanted: set[str], done: str = "") -> bool:
        """Act on the letters with these ids, or on all; whether each was there and it worked."""
        missing, failed, count = set(wanted), 0, 0
        async for letter in self._letters():
            if wanted and letter.id not in wanted:
                continue
            missing.discard(letter.id)
            if await act(letter):
                count += 1
            else:
                failed += 1
        for identity in sorted(missing):
            print(f"{identity} is no dead letter in {self._channel}", file=sys.stderr)
        if done:
            print(f"{count} {done}", file=sys.stderr)
        return not missing and not failed

    async def _letters(self) -> AsyncIterator[DeadLetter]:
        """Those that there are now; what fails again meanwhile comes behind them."""
        left = (await self._queue.depth(self._channel)).dead
        after = ""
        while left > 0:
            page = await self._queue.dead_letters(self._channel, min(PAGE, left), after)
            if not page:
                return
            for letter in page:
                yield letter
            left, after = left - len(page), page[-1].receipt


def line(letter: DeadLetter) -> str:
    kind = "(unreadable)" if letter.message is None else str(letter.message.get("type", "-"))
    fields = (letter.id, when(letter), str(letter.attempts), kind, letter.reason)
    return "  ".join(map(printable, fields))


def when(letter: DeadLetter) -> str:
    return datetime.fromtimestamp(letter.at, UTC).isoformat(timespec="seconds")


def as_json(letter: DeadLetter) -> str:
    fields = {
        "id": letter.id,
        "at": when(letter),
        "attempts": letter.attempts,
        "reason": letter.reason,
        "message": letter.message,
    }
    return json.dumps(fields, indent=2, default=repr)


def printable(text: str) -> str:
    """In one line, and without what a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}.dead_letters",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = ("list", "show", "replay", "discard", "depth")
    parser.add_argument("command", nargs="?", choices=commands, default="list")
    parser.add_argument("ids", nargs="*", metavar="ID")
    parser.add_argument("--all", action="store_true", help="every letter of the channel")
    parser.add_argument("--channel", default="jobs", help="whose letters (jobs)")
    given = parser.parse_intermixed_args(arguments)
    if given.command in ("list", "depth"):
        if given.ids or given.all:
            parser.error(f"{given.command} takes neither an ID nor --all")
    elif given.command == "show" and (given.all or not given.ids):
        parser.error("show takes the ID of a letter")
    elif bool(given.ids) == given.all:
        parser.error(f"{given.command} takes either IDs or --all")
    return given


async def run(settings: Settings, given: argparse.Namespace) -> bool:
    async with make_layers(settings)["jobs"] as layer:
        if not isinstance(layer, InspectableWorkQueue):
            sys.exit(f"{type(layer).__name__} keeps no dead letters.")
        desk = Desk(layer, given.channel)
        wanted = set(given.ids)
        match given.command:
            case "show":
                return await desk.show(wanted)
            case "replay":
                return await desk.replay(wanted)
            case "discard":
                return await desk.discard(wanted)
            case "depth":
                return await desk.depth()
        return await desk.list()


def main() -> None:
    given = parse(sys.argv[1:])
    settings = get_settings()
    if not settings.redis_url:
        sys.exit("REDIS_URL is not set; in memory, dead letters end with the web process.")
    try:
        done = asyncio.run(run(settings, given))
    except (ChannelLayerUnavailable, InvalidNameError) as error:
        sys.exit(str(error))
    sys.exit(0 if done else 1)


if __name__ == "__main__":
    main()
