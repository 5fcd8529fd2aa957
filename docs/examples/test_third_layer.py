"""A third channel layer: processes of one machine, over a hub at a Unix socket."""

# layer
import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import msgpack
import pytest

from fast_channels.exceptions import ChannelLayerUnavailable, ChannelNotOwned
from fast_channels.layers import BaseChannelLayer
from fast_channels.layers.groups import LocalGroups
from fast_channels.mailbox import Mailbox, Message, Overflow
from fast_channels.names import ChannelNames, owner_of


async def frames(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Each behind its length in four bytes, until the other side has closed."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            length = int.from_bytes(await reader.readexactly(4), "big")
            yield await reader.readexactly(length)


def write_frame(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(len(frame).to_bytes(4, "big") + frame)


async def serve_hub(path: str) -> asyncio.Server:
    """Pass each frame that one process writes to all of them, itself included."""
    writers: set[asyncio.StreamWriter] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            async for frame in frames(reader):
                for other in writers:
                    write_frame(other, frame)
        finally:
            writers.discard(writer)
            writer.close()

    return await asyncio.start_unix_server(connected, path)


class HubChannelLayer(BaseChannelLayer):
    """At most once, in order; events only: there are no named channels. ``path`` is the hub's socket."""

    extensions: ClassVar[list[str]] = ["groups"]

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(**options)
        self._path = path
        self._names = ChannelNames()
        self._local = LocalGroups(self.get_capacity, self.expiry)
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        reader, self._writer = await asyncio.open_unix_connection(self._path)
        self._reading = asyncio.create_task(self._read(reader))

    async def aclose(self) -> None:
        if self._reading is not None and self._writer is not None:
            self._reading.cancel()
            self._writer.close()
            self._reading = self._writer = None

    # Out

    async def send(self, channel: str, message: Message) -> None:
        self.require_valid_channel_name(channel)
        if owner_of(channel) is None:
            raise ChannelNotOwned(channel)
        self._pass_on("", channel, message)

    async def group_send(self, group: str, message: Message) -> None:
        self.require_valid_group_name(group)
        self._pass_on(group, "", message)

    def _pass_on(self, group: str, channel: str, message: Message) -> None:
        self.require_valid_message(message)
        if self._writer is None or self._writer.is_closing():
            raise ChannelLayerUnavailable(f"There is no connection to the hub at {self._path}")
        write_frame(self._writer, msgpack.packb([group, channel, message]))

    # In

    async def _read(self, reader: asyncio.StreamReader) -> None:
        async for frame in frames(reader):
            group, channel, message = msgpack.unpackb(frame)
            if group:
                self._local.deliver_group(group, message)
            else:
                self._local.deliver(channel, message)

    # Channels of this process

    async def new_channel(self, prefix: str = "specific.") -> str:
        channel = self._names.make(prefix)
        self._local.mailbox_of(channel)
        return channel

    def mailbox(self, channel: str, overflow: Overflow | None = None) -> Mailbox:
        return self._local.mailbox_of(channel, overflow)

    async def receive(self, channel: str) -> Message:
        if channel not in self._local.mailboxes:
            raise ChannelNotOwned(channel)
        return await self.mailbox(channel).get()

    async def group_add(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        if not self._names.owns(channel):
            raise ChannelNotOwned(channel)
        if channel in self._local.mailboxes:  # else it is closed, and joins nothing
            self._local.join(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self._local.leave(group, channel)

    async def close_channel(self, channel: str) -> None:
        self._local.close(channel)


# tests
@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[str]:
    path = str(tmp_path / "hub")
    server = await serve_hub(path)
    yield path
    server.close()


async def test_a_group_over_two_processes(hub: str) -> None:
    """Each member gets each message once, in order, and a copy of its own."""
    async with HubChannelLayer(hub) as one, HubChannelLayer(hub) as other:
        members = [(layer, await layer.new_channel()) for layer in (one, one, other)]
        for layer, channel in members:
            await layer.group_add("room", channel)
        for number in range(100):
            await other.group_send("room", {"number": number})
        async with asyncio.timeout(30):
            for layer, channel in members:
                heard = [(await layer.receive(channel))["number"] for _ in range(100)]
                assert heard == list(range(100))


async def test_a_channel_of_another_process(hub: str) -> None:
    """A reply finds its way; a name that no process owns is refused, as a group's wrong name is."""
    async with HubChannelLayer(hub) as one, HubChannelLayer(hub) as other:
        channel = await one.new_channel()
        await other.send(channel, {"type": "reply"})
        async with asyncio.timeout(30):
            assert await one.receive(channel) == {"type": "reply"}
        with pytest.raises(ChannelNotOwned):
            await one.send("jobs", {})
        with pytest.raises(TypeError):
            await one.group_send("no group", {})


async def test_a_closed_channel_stays_closed(hub: str) -> None:
    """It becomes no member, and nothing is received on it."""
    async with HubChannelLayer(hub) as layer:
        channel = await layer.new_channel()
        await layer.close_channel(channel)
        await layer.group_add("room", channel)
        with pytest.raises(ChannelNotOwned):
            await layer.receive(channel)


async def test_consumers_speak_through_it(hub: str) -> None:
    """Consumers need nothing else of a layer."""
    from fast_channels.consumer import AsyncWebsocketConsumer
    from fast_channels.layers import register_channel_layer, unregister_channel_layer
    from fast_channels.testing import WebsocketCommunicator

    class Echo(AsyncWebsocketConsumer):
        groups = ("room",)

        async def receive(
            self, text_data: str | None = None, bytes_data: bytes | None = None
        ) -> None:
            await self.channel_layer.group_send("room", {"type": "room.text", "text": text_data})

        async def room_text(self, event: Message) -> None:
            await self.send(event["text"])

    async with HubChannelLayer(hub) as layer:
        register_channel_layer("default", layer)
        try:
            async with (
                WebsocketCommunicator(Echo, "/") as one,
                WebsocketCommunicator(Echo, "/") as other,
            ):
                await one.send_to("hello")
                assert [await one.receive_from(), await other.receive_from()] == ["hello"] * 2
        finally:
            unregister_channel_layer("default")
