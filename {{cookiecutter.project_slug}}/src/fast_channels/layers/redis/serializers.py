"""Messages to bytes and back, optionally encrypted.

The formats ``"msgpack"`` (default) and ``"json"`` are registered; register a subclass of
``BaseMessageSerializer`` under another name for another one.
"""

import abc
import base64
import hashlib
import json
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from ...exceptions import InvalidMessageError, SerializerDoesNotExist, UndecodableMessage
from ...mailbox import Message
from ...messages import NOT_CARRIED, is_flat_in_json, msgpack, no_msgpack, pack, plain, unpack

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

BOUND = b"\xc1\xfc\x01"  # begins what is bound to its place, and no message in msgpack or JSON
DIGEST_SIZE = 16  # bytes
CLOCK_SKEW = 10  # seconds that the clocks of sender and receiver may differ when expiry is checked
MAX_AHEAD = 60  # seconds; as Fernet


class BaseMessageSerializer(abc.ABC):
    """Encrypts with Fernet over the SHA-256 of a key: the first key encrypts, all decrypt.

    ``random_prefix_length`` bytes are put before the result, which makes equal messages differ; they
    protect nothing.
    ``expiry`` (seconds) refuses encrypted messages that are older. ``MultiFernet`` needs the
    ``cryptography`` package.

    The layers bind what they encrypt to its place (topic, channel and uid), so that nobody without a
    key can have it read in another one; not with a subclass that has a ``serialize`` of its own.
    """

    def __init__(
        self,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        random_prefix_length: int = 0,
        expiry: float | None = None,
    ) -> None:
        self.random_prefix_length = random_prefix_length
        self.expiry = expiry
        self.crypter = _make_crypter(symmetric_encryption_keys)

    @abc.abstractmethod
    def as_bytes(self, message: Message) -> bytes:
        """The message in this format."""

    @abc.abstractmethod
    def from_bytes(self, message: bytes) -> Message:
        """The message that ``as_bytes`` turned into these bytes."""

    def serialize(self, message: Message) -> bytes:
        """``InvalidMessageError`` (a ``TypeError``) for a value that the format cannot carry."""
        return self._seal(self.pack(message))

    def deserialize(self, message: bytes) -> Message:
        """``UndecodableMessage`` for bytes that are no message in this format and these keys."""
        return self._open(message, None)

    # For the layers

    @property
    def binds(self) -> bool:
        cls = type(self)
        own = (cls.serialize, cls.deserialize)
        base = (BaseMessageSerializer.serialize, BaseMessageSerializer.deserialize)
        return self.crypter is not None and own == base

    def pack(self, message: Message) -> bytes:
        """For ``bind``, as soon as the place is known."""
        try:
            return self.as_bytes(message)
        except InvalidMessageError:
            raise
        except NOT_CARRIED:
            message = plain(message)
        try:
            return self.as_bytes(message)
        except NOT_CARRIED as error:
            raise InvalidMessageError(f"{type(self).__name__} cannot carry it: {error}") from error

    def bind(self, packed: bytes, place: bytes) -> bytes:
        return self._seal(BOUND + _digest(place) + packed)

    def deserialize_at(self, message: bytes, place: bytes) -> Message:
        """As ``deserialize``, and refuses what was bound to another place.

        What is not bound is accepted: an earlier release encrypted it, or ``serialize``.
        """
        return self._open(message, place)

    def _seal(self, data: bytes) -> bytes:
        if self.crypter is not None:
            data = self.crypter.encrypt(data)
        if self.random_prefix_length > 0:
            data = random.randbytes(self.random_prefix_length) + data
        return data

    def _open(self, message: bytes, place: bytes | None) -> Message:
        data = message[self.random_prefix_length :] if self.random_prefix_length > 0 else message
        try:
            if self.crypter is not None:
                data = _unbound(self._decrypt(self.crypter, data), place)
            decoded: object = self.from_bytes(data)
        except UndecodableMessage:
            raise
        except Exception as error:  # each format has errors of its own
            raise UndecodableMessage(f"{type(error).__name__}: {error}") from error
        if not isinstance(decoded, dict):
            raise UndecodableMessage(f"A message must be a dict, not {type(decoded).__name__}")
        return cast(Message, decoded)

    def _decrypt(self, crypter: "MultiFernet", token: bytes) -> bytes:
        data = crypter.decrypt(token)
        if self.expiry is None:
            return data
        age = time.time() - int.from_bytes(base64.urlsafe_b64decode(token[:12])[1:9], "big")
        allowed = int(self.expiry) + CLOCK_SKEW
        if age > allowed:
            raise UndecodableMessage(
                f"It was encrypted {age:.0f} s ago by the clock of its sender, and at most {allowed} s "
                "are allowed: it waited too long, or that clock is behind the one here"
            )
        if age < -MAX_AHEAD:
            raise UndecodableMessage(
                f"The clock of its sender is {-age:.0f} s ahead of the one here; at most {MAX_AHEAD} s "
                "are allowed"
            )
        return data


class JSONSerializer(BaseMessageSerializer):
    """Readable by other programs. It refuses what JSON has not: bytes, NaN, keys other than str."""

    _encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode

    def as_bytes(self, message: Message) -> bytes:
        try:
            if not is_flat_in_json(message):
                message = unpack(pack(message), str_keys=True)
            encoded = self._encode(message)
            if "\\ud" in encoded:  # a pair of surrogates, or a lone one, which JSON does not mind
                pack(message)
            return encoded.encode()
        except NOT_CARRIED:
            return self._encode(plain(message, json=True)).encode()

    def from_bytes(self, message: bytes) -> Message:
        return cast(Message, json.loads(message))


class MsgPackSerializer(BaseMessageSerializer):
    """Compact and fast; carries bytes too."""

    def as_bytes(self, message: Message) -> bytes:
        return pack(message)

    def from_bytes(self, message: bytes) -> Message:
        unpacked: Message = msgpack.unpackb(message, strict_map_key=False)
        return unpacked


class MissingSerializer(BaseMessageSerializer):
    """Stands for a format whose library is not installed: using it raises that ImportError."""

    exception: ImportError = ImportError("A library that the serializer needs is not installed")

    def __new__(cls, *args: Any, **kwargs: Any) -> "MissingSerializer":
        raise cls.exception


class SerializersRegistry:
    """Serializer classes by format name."""

    def __init__(self) -> None:
        self._classes: dict[str, type[BaseMessageSerializer]] = {}

    def register_serializer(self, format: str, cls: type[BaseMessageSerializer]) -> None:
        if not (isinstance(cls, type) and issubclass(cls, BaseMessageSerializer)):
            raise TypeError(f"A serializer must be a BaseMessageSerializer class, not {cls!r}")
        self._classes[format] = cls

    def get_serializer(self, format: str, *args: Any, **kwargs: Any) -> BaseMessageSerializer:
        """A new serializer made with these arguments; ``SerializerDoesNotExist`` (a KeyError)."""
        if format not in self._classes:
            known = ", ".join(sorted(self._classes))
            raise SerializerDoesNotExist(f"No serializer {format!r} is registered, only: {known}")
        return self._classes[format](*args, **kwargs)


registry = SerializersRegistry()
registry.register_serializer("json", JSONSerializer)
if no_msgpack is None:
    registry.register_serializer("msgpack", MsgPackSerializer)
else:
    _MissingMsgPack = type("MissingMsgPack", (MissingSerializer,), {"exception": no_msgpack})
    registry.register_serializer("msgpack", _MissingMsgPack)


def _digest(place: bytes) -> bytes:
    return hashlib.blake2b(place, digest_size=DIGEST_SIZE).digest()


def _unbound(data: bytes, place: bytes | None) -> bytes:
    """What was packed; ``place`` is where it was found, None for anywhere."""
    if not data.startswith(BOUND):
        return data
    start = len(BOUND) + DIGEST_SIZE
    if place is not None and data[len(BOUND) : start] != _digest(place):
        raise UndecodableMessage("It was encrypted for another place: a message that was replayed")
    return data[start:]


def _make_crypter(keys: Sequence[str | bytes] | None) -> "MultiFernet | None":
    if not keys:
        return None
    if isinstance(keys, str | bytes):
        raise ValueError("symmetric_encryption_keys must be a list of keys, not a bare string")
    try:
        from cryptography.fernet import Fernet, MultiFernet
    except ImportError as error:
        raise ValueError(
            "symmetric_encryption_keys needs the package cryptography; install it"
        ) from error
    digests = [hashlib.sha256(k.encode() if isinstance(k, str) else k).digest() for k in keys]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])
