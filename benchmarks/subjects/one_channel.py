"""Child: sends to one channel and receives from it, in windows of so many sends under way."""

from itertools import count

from ..child import Clock, Options, listen, main, say
from .layers import Layer, all_of, make_layer

TEXT = "x" * 64


async def work(options: Options) -> None:
    layer = make_layer(
        options["subject"], options["kind"], options["url"], **options.get("arguments", {})
    )
    window = options["window"]
    channel = await layer.new_channel()
    numbers = count()
    for _ in range(3):
        await exchange(layer, options["kind"], channel, numbers, window)
    say(ready=True)
    listen()
    operations = 0
    clock = Clock()
    while not operations or clock.wall < options["seconds"]:
        await exchange(layer, options["kind"], channel, numbers, window)
        operations += window
    say(operations=operations, **clock.stop())


async def exchange(
    layer: Layer, kind: str, channel: str, numbers: "count[int]", window: int
) -> None:
    """Send a window at once, then receive it; every message must come."""
    sent = [{"type": "chat.message", "text": TEXT, "n": next(numbers)} for _ in range(window)]
    if window == 1:
        await layer.send(channel, sent[0])
    else:
        await all_of(kind, (layer.send(channel, message) for message in sent))
    received = [await layer.receive(channel) for _ in range(window)]
    if sorted(message["n"] for message in received) != [message["n"] for message in sent]:
        raise RuntimeError(f"sent {sent[0]['n']} to {sent[-1]['n']}, received others")


if __name__ == "__main__":
    main(work)
