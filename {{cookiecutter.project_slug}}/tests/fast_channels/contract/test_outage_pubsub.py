"""The publish/subscribe layer after an outage: each gap is told, in the channel and by hooks."""

import asyncio

import pytest

from fast_channels.layers import RedisPubSubChannelLayer

from ..support.expect import eventually, messages
from ..support.redis_servers import RedisServer


def kill(server: RedisServer) -> None:
    server.execute("CLIENT", "KILL", "TYPE", "pubsub")


async def test_consumers_are_told_of_the_gap(server: RedisServer) -> None:
    """`layer.reconnected` comes once for each broken connection, before what is sent after it."""
    async with RedisPubSubChannelLayer([server.url]) as layer:
        channel = await layer.new_channel()
        mailbox = layer.mailbox(channel)
        await layer.group_add("room", channel)
        for number in range(3):
            await asyncio.to_thread(kill, server)
            assert await messages(layer, channel) == [{"type": "layer.reconnected"}]
            await layer.group_send("room", {"number": number})
            assert await messages(layer, channel) == [{"number": number}]
        assert len(mailbox) == 0


async def test_a_plain_receiver_is_not_told(server: RedisServer) -> None:
    """Who only calls `receive` gets what others sent, and nothing of the layer's own."""
    async with RedisPubSubChannelLayer([server.url]) as layer:
        channel, watcher = await layer.new_channel(), await layer.new_channel()
        layer.mailbox(watcher)
        await layer.group_add("room", channel)
        await asyncio.to_thread(kill, server)
        await messages(layer, watcher)
        await layer.group_send("room", {"type": "after"})
        assert await messages(layer, channel) == [{"type": "after"}]


async def test_hooks_are_called_for_each_outage(server: RedisServer) -> None:
    """`on_disconnect` when the connection breaks, `on_reconnect` when it listens again; the first
    connection and the closing are neither.
    """
    calls: list[str] = []

    async def back() -> None:
        calls.append("back")

    layer = RedisPubSubChannelLayer(
        [server.url], on_disconnect=lambda: calls.append("gone"), on_reconnect=back
    )
    async with layer:
        await layer.new_channel()
        assert calls == []
        await asyncio.to_thread(server.stop)
        await eventually(lambda: calls == ["gone"], "the first hook")
        await asyncio.to_thread(server.start)
        await eventually(lambda: calls == ["gone", "back"], "the second hook")
        await asyncio.to_thread(kill, server)
        await eventually(lambda: calls == ["gone", "back"] * 2, "both again")


async def test_a_failing_hook_is_logged(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What a hook raises is the hook's problem: the layer recovers."""

    def fail() -> None:
        raise RuntimeError("the hook's own")

    async with RedisPubSubChannelLayer(
        [server.url], on_disconnect=fail, on_reconnect=fail
    ) as layer:
        channel = await layer.new_channel()
        layer.mailbox(channel)
        await asyncio.to_thread(kill, server)
        assert await messages(layer, channel) == [{"type": "layer.reconnected"}]
        await layer.send(channel, {"type": "after"})
        assert await messages(layer, channel) == [{"type": "after"}]
        await eventually(lambda: "the hook's own" in caplog.text, "the log line")
