"""The bytes around a message."""

import pytest

from fast_channels.exceptions import UndecodableMessage
from fast_channels.layers.redis.envelope import UID_LENGTH, Envelope, Uids, decode, encode

UID = bytes(range(UID_LENGTH))


@pytest.mark.parametrize("channel", ["", "a", "specific.abc!1", "x" * 100])
@pytest.mark.parametrize("payload", [b"", b"\x00", b"payload" * 1000])
def test_what_is_encoded_is_decoded(channel: str, payload: bytes) -> None:
    """Every channel name and payload comes back as it was."""
    assert decode(encode(UID, channel, payload)) == Envelope(UID, channel, payload)


def test_the_documented_layout() -> None:
    """16 bytes uid, 1 byte length, the name, the payload."""
    assert encode(UID, "abc", b"payload") == UID + b"\x03abcpayload"


@pytest.mark.parametrize("data", [b"", b"short", UID, UID + b"\x05abcd"])
def test_too_few_bytes(data: bytes) -> None:
    """Bytes that end too early are no envelope."""
    with pytest.raises(UndecodableMessage, match=f"{len(data)} bytes"):
        decode(data)


def test_a_name_that_is_no_ascii() -> None:
    """Bytes of somebody else are told, not raised as a UnicodeDecodeError alone."""
    with pytest.raises(UndecodableMessage, match="no ASCII"):
        decode(UID + b"\x02\xff\xfepayload")


def test_uids_never_repeat() -> None:
    """Two senders, 1,000 uids each: all different, all of the right length."""
    senders = [Uids(), Uids()]
    uids = [sender.make() for sender in senders for _ in range(1000)]
    assert len(set(uids)) == 2000
    assert {len(uid) for uid in uids} == {UID_LENGTH}
    assert uids[:1000] == sorted(uids[:1000])
