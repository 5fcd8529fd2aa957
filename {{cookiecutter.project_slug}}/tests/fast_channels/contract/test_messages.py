"""What may be sent, and under which names; and that it arrives as it was."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from fast_channels.exceptions import (
    ChannelLayerUnavailable,
    FastChannelsError,
    InvalidMessageError,
    InvalidNameError,
    MessageTooLarge,
)
from fast_channels.layers import BaseChannelLayer

from ..support.backends import QUEUE, REDIS, over
from ..support.expect import messages

MakeLayer = Callable[..., BaseChannelLayer]

BAD_NAMES: list[Any] = ["", "ünicode", "a b", "a!b!c", "!", "x" * 100, b"bytes", None]
NO_MESSAGES: list[Any] = ["text", ["list"], None, 1]
WRONG: dict[str, Any] = {"type": "x", "data": {"at": datetime(2030, 1, 2, tzinfo=UTC)}}
VALUES: dict[str, Any] = {
    "type": "chat.message",
    "text": "ž 🎉 \x00 \"'\r\n",
    "numbers": [0, -1, 2**53, 1.5],
    "nested": {"list": [{"deep": None}], "empty": {}},
    "flags": [True, False],
}


async def test_a_sender_keeps_its_message(layer: BaseChannelLayer) -> None:
    """What the sender does with its dict afterwards does not change what arrives."""
    channel = await layer.new_channel()
    message = {"type": "x", "list": [1]}
    await layer.send(channel, message)
    message["list"] = "changed"
    assert await messages(layer, channel) == [{"type": "x", "list": [1]}]


async def test_a_bad_channel_name_is_a_type_error(layer: BaseChannelLayer) -> None:
    """Every operation refuses a name that breaks the rules, before anything is sent."""
    for name in BAD_NAMES:
        for operation in (
            layer.send(name, {}),
            layer.receive(name),
            layer.group_add("group", name),
            layer.group_discard("group", name),
        ):
            with pytest.raises(InvalidNameError, match="Channel name must be"):
                await operation


async def test_a_bad_group_name_is_a_type_error(layer: BaseChannelLayer) -> None:
    """The group operations refuse such a name; a `!` is none of a group's letters."""
    for name in [*BAD_NAMES, "a!b"]:
        for operation in (
            layer.group_send(name, {}),
            layer.group_add(name, "channel"),
            layer.group_discard(name, "channel"),
        ):
            with pytest.raises(InvalidNameError, match="Group name must be"):
                await operation


async def test_a_message_must_be_a_dict(layer: BaseChannelLayer) -> None:
    """Anything else is a TypeError at the sender."""
    for message in NO_MESSAGES:
        for sending in (layer.send("channel", message), layer.group_send("group", message)):
            with pytest.raises(InvalidMessageError, match="must be a dict"):
                await sending


async def test_a_value_that_messages_do_not_carry_is_a_type_error(layer: BaseChannelLayer) -> None:
    """It is refused at the sender, which is told where it is and what."""
    for sending in (layer.send("channel", WRONG), layer.group_send("group", WRONG)):
        with pytest.raises(InvalidMessageError, match=r"message\['data'\]\['at'\]: datetime is"):
            await sending


async def test_relatives_of_plain_values_arrive_as_plain_values(layer: BaseChannelLayer) -> None:
    """A tuple as a list, whichever layer it is."""
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.send(channel, {"at": (1, (2,))})
    await layer.group_send("group", {"at": (1, (2,))})
    assert await messages(layer, channel, 2) == [{"at": [1, [2]]}] * 2


@over(REDIS)
async def test_a_message_over_the_limit_is_refused(make_layer: MakeLayer) -> None:
    """`max_message_size` bytes after serialization are the limit; what is under it arrives."""
    layer = make_layer(max_message_size=1000)
    channel = await layer.new_channel()
    with pytest.raises(MessageTooLarge, match="max_message_size allows 1000"):
        await layer.send(channel, {"text": "x" * 1000})
    with pytest.raises(MessageTooLarge):
        await layer.group_send("group", {"text": "x" * 1000})
    await layer.send(channel, {"text": "x" * 900})
    assert await messages(layer, channel) == [{"text": "x" * 900}]


@over(REDIS)
@pytest.mark.parametrize("serializer", ["msgpack", "json"])
@pytest.mark.parametrize("keys", [None, ["new key", "old key"]])
async def test_every_format_carries_messages(
    make_layer: MakeLayer, serializer: str, keys: list[str] | None
) -> None:
    """Both formats, plain and encrypted, between two layers."""
    options = {"serializer_format": serializer, "symmetric_encryption_keys": keys}
    receiver, sender = make_layer(**options), make_layer(**options)
    channel = await receiver.new_channel()
    await receiver.group_add("group", channel)
    await sender.send(channel, VALUES)
    await sender.group_send("group", VALUES)
    assert await messages(receiver, channel, 2) == [VALUES, VALUES]


def test_every_error_has_one_root() -> None:
    """A caller can catch all that the layers raise by one class."""
    assert issubclass(InvalidNameError, FastChannelsError)
    assert issubclass(InvalidNameError, TypeError)
    assert issubclass(InvalidMessageError, FastChannelsError)


@over(QUEUE)
async def test_what_the_server_refuses_is_told(make_layer: Callable[..., Any]) -> None:
    """As `ChannelLayerUnavailable`, with what it said; to each of those who sent at once."""
    layer = make_layer()
    topics = layer.loop_layer.config.topics
    for topic, send in (
        (topics.channel("jobs"), partial(layer.send, "jobs")),
        (topics.group("room"), partial(layer.group_send, "room")),
    ):
        await layer.loop_layer.commands_of(topic).execute("SET", topic, "no stream")
        errors = await asyncio.gather(*(send({}) for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in errors] == [ChannelLayerUnavailable] * 3
        assert all("refused" in str(error) and "WRONGTYPE" in str(error) for error in errors)
