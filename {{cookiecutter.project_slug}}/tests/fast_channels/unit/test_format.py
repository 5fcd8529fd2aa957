"""The bytes around a message."""

import pytest

from fast_channels.exceptions import UndecodableMessage
from fast_channels.layers.redis.format import (
    UID_LENGTH,
    decode,
    decode_one,
    encode,
    encode_message,
    number_of,
)
from fast_channels.layers.redis.loop_layer import Uids

UID = bytes(range(UID_LENGTH))
CHANNELS = ["", "a", "specific.abc!1", "x" * 100]
PAYLOADS = [b"", b"\x00", b"payload" * 1000]


def test_what_is_encoded_is_decoded() -> None:
    """Every channel name and payload comes back as it was, alone and beside others."""
    every = [(channel, payload) for channel in CHANNELS for payload in PAYLOADS]
    for messages in (every, *([message] for message in every)):
        parts = [encode_message(*message) for message in messages]
        numbered = [(*message, number_of(UID) + n) for n, message in enumerate(messages)]
        assert decode(encode(UID, parts)) == numbered


def test_the_documented_layout() -> None:
    """16 bytes uid; for each message 1 and 4 bytes of lengths, the name, the payload."""
    parts = [encode_message("abc", b"payload"), encode_message("", b"")]
    assert encode(UID, parts) == UID + b"\3\0\0\0\7abcpayload" + b"\0\0\0\0\0"


WHOLE = encode(UID, [encode_message("abc", b"payload"), encode_message("d", b"more")])
FIRST = len(encode(UID, [encode_message("abc", b"payload")]))


@pytest.mark.parametrize("length", sorted(set(range(len(WHOLE))) - {FIRST}))
def test_too_few_bytes(length: int) -> None:
    """Bytes that end too early are no envelope, nor is one without a message."""
    with pytest.raises(UndecodableMessage, match=f"{length} bytes"):
        decode(WHOLE[:length])


def test_one_message_where_several_came() -> None:
    """Who reads only one does not drop others in silence."""
    assert decode_one(WHOLE[:FIRST]) == ("abc", b"payload", number_of(UID))
    with pytest.raises(UndecodableMessage, match="2 messages"):
        decode_one(WHOLE)


def test_a_name_that_is_no_ascii() -> None:
    """Bytes of somebody else are told, not raised as a UnicodeDecodeError alone."""
    with pytest.raises(UndecodableMessage, match="no ASCII"):
        decode(UID + b"\2\0\0\0\0\xff\xfe")


def test_uids_never_repeat() -> None:
    """Two senders, 1,000 uids each: all different, in order, all of the right length."""
    senders = [Uids(), Uids()]
    uids = [sender.make() for sender in senders for _ in range(1000)]
    assert len(set(uids)) == 2000
    assert {len(uid) for uid in uids} == {UID_LENGTH}
    assert uids[:1000] == sorted(uids[:1000])


def test_several_uids_follow_each_other() -> None:
    """Those of one envelope, and the next one's after them; also across a byte's border."""
    uids = Uids()
    first = uids.make(300)
    assert number_of(uids.make()) == number_of(first) + 300
    moved = decode_one(encode(first, [encode_message("", b"payload")]), 299)
    assert moved == ("", b"payload", number_of(first) + 299)
