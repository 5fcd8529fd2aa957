"""A client that stops reading, behind a real server: what its consumer holds stays bounded."""

import asyncio
import tracemalloc
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from fast_channels.consumer import AsyncWebsocketConsumer
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.mailbox import Mailbox
from fast_channels.names import owner_of

from ..support.expect import eventually
from ..support.uvicorn_server import serving

pytestmark = pytest.mark.usefixtures("each_protocol")

CAPACITY = 100  # messages, the layer's default
SIZE = 64 * 1024  # bytes of a frame; a hundred are more than the buffers of a connection hold


class Listener(AsyncWebsocketConsumer):
    """Passes on what its room says."""

    groups = ("room",)
    overflow_grace = 0.5
    latest: ClassVar["Listener"]
    codes: ClassVar[list[int]] = []

    async def connect(self) -> None:
        Listener.latest = self
        await self.accept()

    async def room_text(self, message: dict[str, Any]) -> None:
        await self.send(str(message["number"]).ljust(SIZE))

    async def disconnect(self, code: int) -> None:
        self.codes.append(code)


class Closing(Listener):
    overflow = "close"


class SlowlyClosing(Closing):
    async def disconnect(self, code: int) -> None:
        await asyncio.sleep(2 * self.overflow_grace)
        await super().disconnect(code)


class DroppingOldest(Listener):
    overflow = "drop_oldest"


@pytest.fixture(autouse=True)
def codes() -> Iterator[list[int]]:
    """What `disconnect` has been called with."""
    Listener.codes.clear()
    yield Listener.codes
    Listener.codes.clear()
    del Listener.latest  # and with it the server's connection


def lazy_client(address: str) -> connect:
    """It stops reading from its socket when a few frames wait to be received."""
    return connect(
        f"ws://{address}/", max_queue=1, max_size=None, ping_interval=None, compression=None
    )


async def overfill(layer: InMemoryChannelLayer) -> Mailbox:
    """Send to the room until the consumer, blocked in a send, has more than its mailbox holds."""
    mailbox = layer.mailbox(Listener.latest.channel_name)
    for number in range(10 * CAPACITY):
        await layer.group_send("room", {"type": "room.text", "number": number})
        if mailbox.dropped:
            return mailbox
        await asyncio.sleep(0.001)
    raise AssertionError("The server took 1,000 frames for a client that reads none")


def is_empty(layer: InMemoryChannelLayer) -> bool:
    """No group, and no consumer's channel."""
    return not layer.local.members and not any(map(owner_of, layer.local.mailboxes))


async def read_on(client: ClientConnection, last: int | None = None) -> list[int]:
    """The numbers up to `last`, or until the connection is closed."""
    numbers: list[int] = []
    async with asyncio.timeout(30):
        try:
            while last is None or last not in numbers:
                numbers.append(int(await client.recv()))
        except ConnectionClosed:
            assert last is None
    return numbers


async def test_close(memory_layer: InMemoryChannelLayer, codes: list[int]) -> None:
    """With the policy `close` a client that reads on finds what was sent, then code 4008."""
    async with serving(Closing.as_asgi()) as address, lazy_client(address) as client:
        await overfill(memory_layer)
        numbers = await read_on(client)
        assert numbers == list(range(len(numbers)))
        assert client.close_code == 4008
        await eventually(lambda: codes == [4008], "disconnect(4008)")


async def test_close_without_a_reader(memory_layer: InMemoryChannelLayer, codes: list[int]) -> None:
    """A handler that is blocked in its send, and a close frame that cannot be sent, get
    `overflow_grace` seconds each; then the consumer has left its groups and is gone.
    """
    async with serving(Closing.as_asgi()) as address, lazy_client(address) as client:
        await overfill(memory_layer)
        await eventually(lambda: codes == [4008], "disconnect(4008)")
        await eventually(lambda: is_empty(memory_layer), "the channel to be closed")
        await read_on(client)


async def test_close_while_more_comes(memory_layer: InMemoryChannelLayer, codes: list[int]) -> None:
    """The same in a room that goes on talking; `disconnect` is not cut short by it."""

    async def talk() -> None:
        while True:
            await memory_layer.group_send("room", {"type": "room.text", "number": 0})
            await asyncio.sleep(0.001)

    async with serving(SlowlyClosing.as_asgi()) as address, lazy_client(address) as client:
        await overfill(memory_layer)
        talking = asyncio.create_task(talk())
        try:
            await eventually(lambda: codes == [4008], "disconnect(4008)")
            await eventually(lambda: is_empty(memory_layer), "the channel to be closed")
        finally:
            talking.cancel()
        await read_on(client)


async def test_drop_oldest(memory_layer: InMemoryChannelLayer, codes: list[int]) -> None:
    """However much is sent, a slow consumer holds its mailbox and the server one buffer; a client
    that reads on gets what is left, in order and up to the last.
    """
    async with serving(DroppingOldest.as_asgi()) as address, lazy_client(address) as client:
        mailbox = await overfill(memory_layer)
        last = 20_000
        tracemalloc.start()
        for number in range(1000, last + 1):
            await memory_layer.group_send("room", {"type": "room.text", "number": number})
            if number % 100 == 0:
                await asyncio.sleep(0)
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert used < 1024 * 1024
        assert len(mailbox) == CAPACITY
        numbers = await read_on(client, last)
        assert numbers == sorted(set(numbers))
        assert numbers[-CAPACITY:] == list(range(last - CAPACITY + 1, last + 1))
        assert codes == []
