"""Messages to bytes and back, with and without encryption."""

import json
import time
from typing import Any

import msgpack
import pytest

from fast_channels.exceptions import InvalidMessageError, SerializerDoesNotExist, UndecodableMessage
from fast_channels.layers.redis.serializers import (
    BaseMessageSerializer,
    JSONSerializer,
    MissingSerializer,
    MsgPackSerializer,
    SerializersRegistry,
    registry,
)

FORMATS = [JSONSerializer, MsgPackSerializer]
MESSAGE: dict[str, Any] = {"type": "x", "text": "ž🎉", "n": [1, 1.5, None, True], "deep": {"a": {}}}


@pytest.fixture(params=FORMATS)
def serializer_class(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("keys", [None, [], ["key"], [b"key", "old"]])
@pytest.mark.parametrize("prefix", [0, 12])
def test_a_message_comes_back(serializer_class: Any, keys: Any, prefix: int) -> None:
    """Whatever the format, the keys and the random prefix."""
    serializer = serializer_class(symmetric_encryption_keys=keys, random_prefix_length=prefix)
    assert serializer.deserialize(serializer.serialize(MESSAGE)) == MESSAGE


def test_the_formats_are_what_they_are_called() -> None:
    """Other programs can read them: compact JSON, and MessagePack with bytes as bytes."""
    assert json.loads(JSONSerializer().serialize(MESSAGE)) == MESSAGE
    binary = {"bytes": b"\x00\xff"}
    assert msgpack.unpackb(MsgPackSerializer().serialize(binary)) == binary
    assert MsgPackSerializer().deserialize(MsgPackSerializer().serialize(binary)) == binary


def test_a_random_prefix_makes_equal_messages_differ(serializer_class: Any) -> None:
    """It has the length that was asked for, and is taken off again."""
    plain = serializer_class().serialize(MESSAGE)
    serializer = serializer_class(random_prefix_length=12)
    first, second = serializer.serialize(MESSAGE), serializer.serialize(MESSAGE)
    assert first != second
    assert first[12:] == second[12:] == plain


def test_encryption_hides_the_message(serializer_class: Any) -> None:
    """Nothing of the text is readable, and each time the bytes differ."""
    serializer = serializer_class(symmetric_encryption_keys=["key"])
    first, second = (serializer.serialize({"text": "secret"}) for _ in range(2))
    assert b"secret" not in first
    assert first != second


def test_keys_can_be_rotated(serializer_class: Any) -> None:
    """The first key encrypts, all decrypt; a key that was taken away does not."""
    old = serializer_class(symmetric_encryption_keys=["old"])
    both = serializer_class(symmetric_encryption_keys=["new", "old"])
    new = serializer_class(symmetric_encryption_keys=["new"])
    assert both.deserialize(old.serialize(MESSAGE)) == MESSAGE
    assert new.deserialize(both.serialize(MESSAGE)) == MESSAGE
    with pytest.raises(UndecodableMessage):
        new.deserialize(old.serialize(MESSAGE))
    with pytest.raises(UndecodableMessage):
        serializer_class().deserialize(new.serialize(MESSAGE))


def test_a_str_and_its_bytes_are_the_same_key(serializer_class: Any) -> None:
    """A key may be either; it is hashed, so that it may have any length."""
    as_text = serializer_class(symmetric_encryption_keys=["schlüssel"])
    as_bytes = serializer_class(symmetric_encryption_keys=["schlüssel".encode()])
    assert as_bytes.deserialize(as_text.serialize(MESSAGE)) == MESSAGE


def test_an_old_encrypted_message_is_refused(
    serializer_class: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`expiry` and a tolerance for clocks; without `expiry` the age does not matter."""
    now = 1_700_000_000
    monkeypatch.setattr("cryptography.fernet.time.time", lambda: now)
    strict = serializer_class(symmetric_encryption_keys=["key"], expiry=5)
    lenient = serializer_class(symmetric_encryption_keys=["key"])
    data = strict.serialize(MESSAGE)
    now += 10
    assert strict.deserialize(data) == MESSAGE
    now += 10
    with pytest.raises(UndecodableMessage):
        strict.deserialize(data)
    assert lenient.deserialize(data) == MESSAGE


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(90, "ahead of the one here"), (-90, "behind the one here"), (55, ""), (-60, "")],
)
def test_clocks_that_differ(
    serializer_class: Any, monkeypatch: pytest.MonkeyPatch, seconds: int, told: str
) -> None:
    """The error says so, and by how much, where it is more than is tolerated."""
    now = time.time()
    serializer = serializer_class(symmetric_encryption_keys=["key"], expiry=60)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("time.time", lambda: now + seconds)
        data = serializer.serialize(MESSAGE)
    monkeypatch.setattr("time.time", lambda: now)
    if not told:
        assert serializer.deserialize(data) == MESSAGE
        return
    with pytest.raises(UndecodableMessage, match=f"(89|90|91) s .*{told}"):
        serializer.deserialize(data)


def test_what_is_bound_is_read_at_its_place_only(serializer_class: Any) -> None:
    """What an earlier release encrypted is bound to none, and still read."""
    serializer = serializer_class(symmetric_encryption_keys=["key"], random_prefix_length=3)
    assert serializer.binds
    bound = serializer.bind(serializer.pack(MESSAGE), b"here")
    assert serializer.deserialize_at(bound, b"here") == MESSAGE
    assert serializer.deserialize(bound) == MESSAGE
    assert serializer.deserialize_at(serializer.serialize(MESSAGE), b"here") == MESSAGE
    with pytest.raises(UndecodableMessage, match="another place"):
        serializer.deserialize_at(bound, b"there")


def test_who_serializes_in_ones_own_way_is_left_alone() -> None:
    """Without keys nothing is bound, either."""

    class Own(MsgPackSerializer):
        def serialize(self, message: dict[str, Any]) -> bytes:
            return b"own"

    assert not Own(symmetric_encryption_keys=["key"]).binds
    assert not MsgPackSerializer().binds


@pytest.mark.parametrize("keys", ["key", b"key"])
def test_a_bare_key_instead_of_a_list_is_refused(serializer_class: Any, keys: Any) -> None:
    """Its letters would be taken for keys."""
    with pytest.raises(ValueError, match="must be a list of keys"):
        serializer_class(symmetric_encryption_keys=keys)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"{", b"[1]", b"\x91\x01", b"12", b"null", b"\xc0"])
def test_bytes_that_are_no_message(serializer_class: Any, data: bytes) -> None:
    """Broken bytes, and values that are no dict."""
    with pytest.raises(UndecodableMessage):
        serializer_class().deserialize(data)


def test_bytes_shorter_than_the_prefix(serializer_class: Any) -> None:
    """There is nothing behind the prefix."""
    with pytest.raises(UndecodableMessage):
        serializer_class(random_prefix_length=12).deserialize(b"short")


class Upper(BaseMessageSerializer):
    """A format of an application's own."""

    def as_bytes(self, message: dict[str, Any]) -> bytes:
        return json.dumps(message).upper().encode()

    def from_bytes(self, message: bytes) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(message.lower())
        return decoded


def test_a_format_of_ones_own() -> None:
    """Registered under a name, it is made with the arguments that are given."""
    formats = SerializersRegistry()
    formats.register_serializer("upper", Upper)
    serializer = formats.get_serializer("upper", random_prefix_length=3)
    assert serializer.serialize({"a": "b"})[3:] == b'{"A": "B"}'
    assert serializer.deserialize(b"xxx" + b'{"A": "B"}') == {"a": "b"}
    with pytest.raises(TypeError, match="BaseMessageSerializer"):
        formats.register_serializer("not a class", Upper())  # type: ignore[arg-type]


def test_the_registered_formats() -> None:
    """JSON and msgpack; an unknown name is a KeyError that lists them."""
    assert isinstance(registry.get_serializer("json"), JSONSerializer)
    assert isinstance(registry.get_serializer("msgpack"), MsgPackSerializer)
    with pytest.raises(SerializerDoesNotExist, match="'yaml' is registered, only: json, msgpack"):
        registry.get_serializer("yaml")
    assert issubclass(SerializerDoesNotExist, KeyError)


def test_a_format_of_ones_own_gets_plain_values_if_it_cannot_do_without() -> None:
    """What its `as_bytes` refuses is made plain; what it then refuses is an error that names it."""

    class Text(Upper):
        def as_bytes(self, message: dict[str, Any]) -> bytes:
            if type(message["value"]) is not str:
                raise ValueError("only str")
            return super().as_bytes(message)

    class Name(str):
        __slots__ = ()

    assert Text().serialize({"value": Name("ann")}) == b'{"VALUE": "ANN"}'
    with pytest.raises(InvalidMessageError, match="Text cannot carry it: only str"):
        Text().serialize({"value": 1})
    with pytest.raises(InvalidMessageError, match=r"message\['value'\]: set is nothing"):
        Text().serialize({"value": {1}})


def test_a_format_without_its_library_says_so_when_used() -> None:
    """Not when it is imported."""

    class Missing(MissingSerializer):
        exception = ImportError("no module named cbor")

    formats = SerializersRegistry()
    formats.register_serializer("cbor", Missing)
    with pytest.raises(ImportError, match="cbor"):
        formats.get_serializer("cbor")
