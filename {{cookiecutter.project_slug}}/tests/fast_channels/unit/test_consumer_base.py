"""Dispatch, instances and layers: what every kind of consumer does."""

from typing import Any

import pytest

from fast_channels.consumer import AsyncConsumer
from fast_channels.exceptions import InvalidChannelLayerError
from fast_channels.layers import (
    InMemoryChannelLayer,
    register_channel_layer,
    unregister_channel_layer,
)
from fast_channels.testing import ApplicationCommunicator

from ..support.sample_consumers import LEAVE, SCOPE, Recorder, channel_of, frame

# Dispatch


@pytest.mark.parametrize(
    ("message_type", "method"),
    [("chat", "chat"), ("chat.message", "chat_message"), ("a.b.c", "a_b_c"), ("chat_", "chat_")],
)
async def test_type_names_the_handler(message_type: str, method: str) -> None:
    """The handler's name is the message's type with underscores for dots."""
    got = []

    async def handler(message: dict[str, Any]) -> None:
        got.append(message)

    consumer = AsyncConsumer()
    setattr(consumer, method, handler)
    await consumer.dispatch({"type": message_type, "text": "hello"})
    assert got == [{"type": message_type, "text": "hello"}]


@pytest.mark.parametrize("message_type", ["_private", ".private", "__init__", "_a.b"])
async def test_private_methods_are_out_of_reach(message_type: str) -> None:
    """A type that starts with an underscore or a dot is a ValueError, even if it has a method."""

    class Private(AsyncConsumer):
        async def _private(self, message: dict[str, Any]) -> None:
            raise AssertionError("must not be called")

    with pytest.raises(ValueError, match="must not start with _ or \\."):
        await Private().dispatch({"type": message_type})


@pytest.mark.parametrize("message_type", ["no.such", "", "scope.x"])
async def test_unknown_type(message_type: str) -> None:
    """A type without a handler is a ValueError that names the class and the missing method."""
    with pytest.raises(ValueError, match="Recorder has no method") as caught:
        await Recorder().dispatch({"type": message_type})
    assert message_type.replace(".", "_") + "()" in str(caught.value)


@pytest.mark.parametrize("message", [{}, {"type": None}, {"type": 5}, {"type": ["a"]}])
async def test_message_without_a_type(message: dict[str, Any]) -> None:
    """A message whose type is missing or no str is a ValueError that shows it."""
    with pytest.raises(ValueError, match="needs a type"):
        await Recorder().dispatch(message)


@pytest.mark.parametrize("patched", [False, True])
async def test_an_overridden_dispatch_sees_everything(
    memory_layer: InMemoryChannelLayer, monkeypatch: pytest.MonkeyPatch, patched: bool
) -> None:
    """Frames, messages from the layer and the client's leaving, also if it was overridden late."""
    seen: list[str] = []
    original = AsyncConsumer.dispatch

    async def dispatch(self: AsyncConsumer, message: dict[str, Any]) -> None:
        seen.append(message["type"])
        await original(self, message)

    consumer = Recorder if patched else type("Overriding", (Recorder,), {"dispatch": dispatch})
    if patched:
        monkeypatch.setattr(AsyncConsumer, "dispatch", dispatch)
    async with ApplicationCommunicator(consumer, SCOPE) as client:
        channel = await channel_of(client)
        await memory_layer.send(channel, {"type": "chat.message", "number": 1})
        assert await client.receive_output() == {"type": "message", "number": 1}
        await client.send_input(LEAVE)
        await client.wait()
    assert seen == ["test.name", "chat.message", "test.leave"]


# Instances and layers


async def test_as_asgi_makes_an_instance_for_each_connection(
    memory_layer: InMemoryChannelLayer,
) -> None:
    """as_asgi() carries the class and its arguments, and no state passes between connections."""

    class Greeter(Recorder):
        def __init__(self, greeting: str) -> None:
            self.greetings = [greeting]

        async def test_greet(self, message: dict[str, Any]) -> None:
            self.greetings.append("again")
            await self.send({"type": "greeting", "all": self.greetings})

    app = Greeter.as_asgi(greeting="hello")
    assert app.consumer_class is Greeter
    assert app.consumer_initkwargs == {"greeting": "hello"}
    for _ in range(2):
        async with ApplicationCommunicator(app, SCOPE) as client:
            await client.send_input({"type": "test.greet"})
            assert (await client.receive_output())["all"] == ["hello", "again"]


async def test_each_connection_has_a_channel_of_its_own(memory_layer: InMemoryChannelLayer) -> None:
    """What is sent to a consumer's channel_name reaches that consumer only."""
    async with (
        ApplicationCommunicator(Recorder, SCOPE) as ann,
        ApplicationCommunicator(Recorder, SCOPE) as bob,
    ):
        channel, other = await channel_of(ann), await channel_of(bob)
        assert channel != other
        await memory_layer.send(channel, {"type": "chat.message", "number": 1})
        assert await ann.receive_output() == {"type": "message", "number": 1}
        assert await bob.receive_nothing(0.05)


async def test_without_a_layer() -> None:
    """Without a registered layer a consumer works, and has neither layer nor channel."""
    async with ApplicationCommunicator(Recorder, SCOPE) as client:
        await client.send_input({"type": "test.name"})
        assert await client.receive_output() == {"type": "name", "channel": "", "layer": None}


async def test_a_missing_layer_is_named() -> None:
    """An error that says what to do in the place of an attribute that is None; hasattr() says no."""

    class Talking(Recorder):
        async def test_frame(self, message: dict[str, Any]) -> None:
            assert not hasattr(self, "channel_layer")
            await self.channel_layer.group_send("room", {"type": "chat.message"})

    async with ApplicationCommunicator(Talking, SCOPE) as client:
        await client.send_input(frame(1))
        with pytest.raises(
            InvalidChannelLayerError, match="Talking has no channel layer: register"
        ):
            await client.wait()


async def test_layer_by_alias(memory_layer: InMemoryChannelLayer) -> None:
    """channel_layer_alias chooses among the registered layers; the default one is not touched."""

    class OnJobs(Recorder):
        channel_layer_alias = "jobs"

    jobs = InMemoryChannelLayer()
    register_channel_layer("jobs", jobs)
    try:
        async with ApplicationCommunicator(OnJobs, SCOPE) as client:
            await client.send_input({"type": "test.name"})
            assert (await client.receive_output())["layer"] is jobs
    finally:
        unregister_channel_layer("jobs")


async def test_default_layer(memory_layer: InMemoryChannelLayer) -> None:
    """Without an alias the layer registered as "default" is taken."""
    async with ApplicationCommunicator(Recorder, SCOPE) as client:
        await client.send_input({"type": "test.name"})
        assert (await client.receive_output())["layer"] is memory_layer


async def test_unregistered_alias(memory_layer: InMemoryChannelLayer) -> None:
    """An alias that is not registered ends the connection with an error naming those that are."""

    class Misspelt(Recorder):
        channel_layer_alias = "defualt"

    async with ApplicationCommunicator(Misspelt, SCOPE) as client:
        with pytest.raises(InvalidChannelLayerError, match=r"'defualt'.*registered: 'default'"):
            await client.wait()


async def test_layer_reconnected_is_no_unknown_type(memory_layer: InMemoryChannelLayer) -> None:
    """A consumer that does not care about gaps survives the layer's word of one."""
    async with ApplicationCommunicator(Recorder, SCOPE) as client:
        await memory_layer.send(await channel_of(client), {"type": "layer.reconnected"})
        await client.send_input(frame(1))
        assert await client.receive_output() == {"type": "frame", "number": 1}
