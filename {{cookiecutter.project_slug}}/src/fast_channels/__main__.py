"""The command line, ``python -m fast_channels``: an operator's look into channels of jobs, and the
browser's types of frames.

It owns what is typed and what is printed, and knows a layer by its public methods alone. Nothing imports
it: without it, and without typer, the rest of the package is as before.

Invariants: results go to standard output, remarks to standard error, and neither holds a character that a
terminal would obey. The exit status is 0 if all was done; 1 if a letter was not there or could not be
replayed, the layer cannot do it or did not answer, or a file is out of date; 2 for wrong arguments.
"""

import asyncio
import json
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from .exceptions import (
    ChannelFull,
    ChannelLayerUnavailable,
    InvalidChannelLayerError,
    InvalidNameError,
    UndecodableMessage,
)
from .layers import BaseChannelLayer, DeadLetter, InMemoryChannelLayer, InspectableWorkQueue

PAGE = 100  # letters that are fetched at once

Channel = Annotated[str, typer.Argument(help="The channel of the jobs.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="As list shows them.")]
Work = Callable[[InspectableWorkQueue], Awaitable[bool]]
Act = Callable[[InspectableWorkQueue, DeadLetter], Awaitable[bool]]
All = Annotated[bool, typer.Option("--all", help="Every letter of the channel.")]

command_line = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
dead_letters = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
command_line.add_typer(dead_letters, name="dead-letters", help="Jobs that failed for good.")


# What can be typed


@command_line.callback()
def options(
    context: typer.Context,
    layers: Annotated[
        str,
        typer.Option(
            envvar="FAST_CHANNELS_LAYERS",
            metavar="MODULE[:FUNCTION]",
            help="What makes the application's layers, by alias; make_layers if no function is named.",
        ),
    ] = "",
    layer: Annotated[str, typer.Option(metavar="ALIAS", help="The layer of the jobs.")] = "jobs",
) -> None:
    """Look into the channels of jobs of an application, or make the browser's types of its frames."""
    context.obj = (layers, layer)


@command_line.command()
def depth(context: typer.Context, channel: Channel) -> None:
    """Print how many jobs wait, are in work, are dead letters."""

    async def work(queue: InspectableWorkQueue) -> bool:
        depth = await queue.depth(channel)
        typer.echo(f"waiting {depth.waiting}\nin work {depth.leased}\ndead    {depth.dead}")
        return True

    run(context, work)


@dead_letters.command("list")
def list_letters(context: typer.Context, channel: Channel) -> None:
    """Print each letter in a line: id, time, attempts, type of the message, reason."""

    async def work(queue: InspectableWorkQueue) -> bool:
        count = 0
        async for letter in letters(queue, channel):
            count += 1
            typer.echo(line(letter))
        remark(f"{count} dead letter(s) in {channel}")
        return True

    run(context, work)


@dead_letters.command()
def show(context: typer.Context, channel: Channel, ids: list[str]) -> None:
    """Print letters, whole, as JSON."""

    async def act(_: InspectableWorkQueue, letter: DeadLetter) -> bool:
        typer.echo(as_json(letter))
        return True

    run_on_each(context, channel, ids, act)


@dead_letters.command()
def replay(context: typer.Context, channel: Channel, ids: Ids = None, every: All = False) -> None:
    """Put letters back into the channel, as if they had not been tried yet."""

    async def act(queue: InspectableWorkQueue, letter: DeadLetter) -> bool:
        try:
            return await queue.replay(channel, letter)
        except (ChannelFull, UndecodableMessage) as error:
            remark(f"{letter.id} stays: {error}")
            return False

    run_on_each(context, channel, either(ids, every), act, "replayed")


@dead_letters.command()
def discard(context: typer.Context, channel: Channel, ids: Ids = None, every: All = False) -> None:
    """Delete letters."""
    wanted = either(ids, every)
    run_on_each(
        context, channel, wanted, lambda queue, one: queue.discard(channel, one), "discarded"
    )


@command_line.command()
def types(
    consumers: Annotated[list[str], typer.Argument(metavar="MODULE:CLASS...")],
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to write, such as frames.d.ts.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if the file is out of date.")
    ] = False,
) -> None:
    """Print the frames of consumers as TypeScript, or write them into a file."""
    from .frames import FrameConsumer, typescript  # the only command that needs Pydantic

    found = [resolve(name, name) for name in consumers]
    for name, consumer in zip(consumers, found, strict=True):
        if not (isinstance(consumer, type) and issubclass(consumer, FrameConsumer)):
            raise typer.BadParameter(f"{name} is no FrameConsumer: {consumer!r:.100}")
    text = typescript(*found)
    if output is None:
        if check:
            raise typer.BadParameter("--check needs --output, the file that is compared.")
        typer.echo(text, nl=False)
    elif not check:
        output.write_text(text, encoding="utf-8")
    elif not output.is_file() or output.read_text(encoding="utf-8") != text:
        remark(f"{output} is out of date: run this command without --check")
        raise typer.Exit(1)


def either(ids: list[str] | None, every: bool) -> list[str]:
    if bool(ids) == every:
        raise typer.BadParameter("Name either IDs or --all.")
    return ids or []


# How it is done


def run(context: typer.Context, work: Work) -> NoReturn:
    """Work on the layer's jobs; ends with the exit status."""
    layers, alias = context.obj
    layer = find_layer(layers, alias)

    async def main() -> bool:
        if isinstance(layer, InMemoryChannelLayer):
            raise InvalidChannelLayerError(
                f"Layer {alias!r} is in memory: its jobs and dead letters are in the process that "
                "made them, and end with it. Is the address of Redis set?"
            )
        if not isinstance(layer, InspectableWorkQueue):
            raise InvalidChannelLayerError(f"{type(layer).__name__} keeps no jobs.")
        async with layer:
            return await work(layer)

    try:
        done = asyncio.run(main())
    except (ChannelLayerUnavailable, InvalidChannelLayerError, InvalidNameError) as error:
        remark(str(error))
        done = False
    raise typer.Exit(0 if done else 1)


def run_on_each(
    context: typer.Context, channel: str, wanted: Collection[str], act: Act, done: str = ""
) -> NoReturn:
    """Act on the letters with these ids, or on all: done if each was there and it worked."""

    async def work(queue: InspectableWorkQueue) -> bool:
        outcomes = {
            letter.id: await act(queue, letter)
            async for letter in letters(queue, channel)
            if not wanted or letter.id in wanted
        }
        missing = set(wanted) - outcomes.keys()
        for identity in sorted(missing):
            remark(f"{identity} is no dead letter in {channel}")
        if done:
            remark(f"{sum(outcomes.values())} {done}")
        return not missing and all(outcomes.values())

    run(context, work)


async def letters(queue: InspectableWorkQueue, channel: str) -> AsyncIterator[DeadLetter]:
    """Those that there are now; what fails again meanwhile comes behind them."""
    left = (await queue.depth(channel)).dead
    after = ""
    while left > 0:
        page = await queue.dead_letters(channel, min(PAGE, left), after)
        if not page:
            return
        for letter in page:
            yield letter
        left, after = left - len(page), page[-1].receipt


def find_layer(where: str, alias: str) -> BaseChannelLayer:
    if not where:
        raise typer.BadParameter("Missing option --layers, or FAST_CHANNELS_LAYERS: whose jobs?")
    module, _, function = where.partition(":")
    make_layers = resolve(f"{module}:{function or 'make_layers'}", f"--layers {where}")
    layers: Mapping[str, BaseChannelLayer] = make_layers()
    if not isinstance(layers, Mapping):
        raise typer.BadParameter(f"--layers {where}: made {layers!r:.100}, not a dict of layers")
    if alias not in layers:
        raise typer.BadParameter(f"--layer {alias}: there is only {', '.join(layers)}")
    return layers[alias]


def resolve(name: str, what: str) -> Any:
    """What ``module:name`` names."""
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise typer.BadParameter(f"{what}: {error}") from None


# What is printed


def remark(text: str) -> None:
    typer.echo(printable(text), err=True)


def line(letter: DeadLetter) -> str:
    kind = "(unreadable)" if letter.message is None else str(letter.message.get("type", "-"))
    fields = (letter.id, when(letter), str(letter.attempts), kind, letter.reason)
    return "  ".join(map(printable, fields))


def when(letter: DeadLetter) -> str:
    return datetime.fromtimestamp(letter.at, UTC).isoformat(timespec="seconds")


def as_json(letter: DeadLetter) -> str:
    fields = asdict(letter) | {"at": when(letter)}
    del fields["receipt"]  # which means nothing to others
    return json.dumps(fields, indent=2, default=repr)


def printable(text: str) -> str:
    """In one line, and without what a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)


if __name__ == "__main__":
    command_line(prog_name="python -m fast_channels")
