"""`make house`: how much of the runtime one has to read, as figures.

For a folder: its Python files (median and longest, in lines), the floors of its imports (the longest way
down, a circle counts as one floor), the arrows between its modules, and its circles.

For a message: the files that a group send passes until its last byte leaves the process, and those that
it passes on its way into a consumer's hands, with the changes from one file to another. They are
counted by the interpreter's profiling hook, over a real Redis, when everything is warm.
"""

import asyncio
import importlib
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from .imports import RUNTIME, SOURCES, circles, floors, graph
from .store import Redis

FOLDERS = {
    "fast_channels": RUNTIME,
    "layers/redis": RUNTIME / "layers" / "redis",
    "layers/redis/client": RUNTIME / "layers" / "redis" / "client",
    "server": RUNTIME / "server",
}
LAYERS = {"queue": "RedisChannelLayer", "pubsub": "RedisPubSubChannelLayer"}
ROUNDS = 20  # messages before the one that is traced: scripts are loaded, names are cached


@dataclass(frozen=True)
class Folder:
    lines: tuple[int, ...]  # of each file that is not empty
    floors: int
    arrows: int
    circles: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        circles = "; ".join(" - ".join(circle) for circle in self.circles) or "none"
        return (
            f"{len(self.lines)} files, {sum(self.lines)} lines (median "
            f"{statistics.median(self.lines):.0f}, longest {max(self.lines)}); {self.floors} floors, "
            f"{self.arrows} arrows; circles: {circles}"
        )


def measure(folder: Path) -> Folder:
    texts = [path.read_text(encoding="utf-8") for path in folder.rglob("*.py")]
    needs = graph(folder)
    shortened = tuple(
        tuple(name.rpartition(".")[2] for name in circle) for circle in circles(needs)
    )
    return Folder(
        tuple(len(text.splitlines()) for text in texts if text),
        floors(needs),
        sum(map(len, needs.values())),
        shortened,
    )


class Trace:
    """The files of the runtime whose functions are entered, in their order."""

    def __init__(self) -> None:
        self.files: list[str] = []

    def __enter__(self) -> "Trace":
        sys.setprofile(self._enter)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.setprofile(None)

    def _enter(self, frame: FrameType, event: str, argument: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(str(RUNTIME)):
            name = str(Path(file).relative_to(RUNTIME))
            if not self.files or self.files[-1] != name:
                self.files.append(name)

    def __str__(self) -> str:
        return f"{len(set(self.files))} files, {max(len(self.files) - 1, 0)} changes of file"


async def trace(kind: str, url: str) -> tuple[Trace, Trace]:
    """One message's way out of one process (here: layer object), and into another."""
    make = getattr(importlib.import_module("fast_channels.layers"), LAYERS[kind])
    sending, receiving = Trace(), Trace()
    async with make([url]) as sender, make([url]) as receiver:
        channel = await receiver.new_channel()
        mailbox = receiver.mailbox(channel)
        await receiver.group_add("room", channel)
        for _ in range(ROUNDS):
            await sender.group_send("room", {"type": "chat.message", "text": "hello"})
            await mailbox.get()
        message = {"type": "chat.message", "text": "hello"}
        with sending:
            sent = asyncio.ensure_future(sender.group_send("room", message))
            for _ in range(3):  # until it is written; the reply cannot be there yet
                await asyncio.sleep(0)
        await sent
        await mailbox.get()
        # In a thread of its own, which the hook does not see: only the receiver is traced.
        elsewhere = asyncio.create_task(asyncio.to_thread(send_from_a_new_loop, make, url, message))
        with receiving:
            await mailbox.get()
        await elsewhere
    return sending, receiving


def send_from_a_new_loop(make: Callable[..., Any], url: str, message: dict[str, Any]) -> None:
    async def send() -> None:
        async with make([url]) as sender:
            await sender.group_send("room", message)

    asyncio.run(send())


def main() -> None:
    for name, folder in FOLDERS.items():
        print(f"{name}: {measure(folder)}")
    sys.path.insert(0, str(SOURCES))
    with Redis() as redis:
        for kind in LAYERS:
            sending, receiving = asyncio.run(trace(kind, redis.url))
            print(f"group send, {kind} layer: {sending}")
            print(f"  {' '.join(sending.files)}")
            print(f"received, {kind} layer: {receiving}")
            print(f"  {' '.join(receiving.files)}")


if __name__ == "__main__":
    main()
