"""What a message may hold: the same on every layer, and an error that says where it holds more."""

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, strategies as st

from fast_channels import messages
from fast_channels.exceptions import InvalidMessageError
from fast_channels.layers import BaseChannelLayer, InMemoryChannelLayer, register_encoder
from fast_channels.layers.redis.serializers import JSONSerializer, MsgPackSerializer
from fast_channels.messages import MAX_DEPTH, detached, pack, plain, unpack

from ..support.backends import Backend
from ..support.properties import CHARACTERS, sequences
from ..support.redis_servers import RedisServer

NOW = datetime(2030, 1, 2, tzinfo=UTC)
ID = uuid.UUID(int=7)


class Color(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Shape(Enum):
    ROUND = "round"


class Point(NamedTuple):
    x: float
    y: float


class Name(str):
    __slots__ = ()


@pytest.fixture(autouse=True)
def _no_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(messages, "_encoders", {})


@pytest.fixture(params=["memory", "msgpack", "json", "without msgpack"])
def arrive(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a receiver gets of a message, through memory or through bytes."""
    if request.param == "memory":
        return detached
    if request.param == "without msgpack":
        monkeypatch.setattr(messages, "msgpack", None)
        return detached
    serializer = MsgPackSerializer() if request.param == "msgpack" else JSONSerializer()
    return lambda message: serializer.deserialize(serializer.serialize(message))


def nested(levels: int, inmost: Any) -> Any:
    """A message of so many dicts and lists in turn."""
    value = inmost
    for level in range(levels - 1):
        value = [value] if level % 2 else {"x": value}
    return {"value": value}


class TestCarried:
    """What arrives."""

    @pytest.mark.parametrize(
        ("value", "arrives"),
        [
            ([None, True, False, 0, -(2**63), 2**64 - 1, 1.5, -0.0, "", "ž🎉"], None),
            ({"": {}, "ü": [[], [{}]]}, None),
            ((1, ("two", [3])), [1, ["two", [3]]]),
            (Point(1.5, 2), [1.5, 2]),
            (Color.RED, "red"),
            (Level.LOW, 1),
            (Name("Ann"), "Ann"),
            ({Color.RED: Level.LOW, Name("Ann"): 1}, {"red": 1, "Ann": 1}),
            (defaultdict(list, a=[1]), {"a": [1]}),
        ],
    )
    def test_values(self, arrive: Any, value: Any, arrives: Any) -> None:
        """Plain values as they are, their relatives as plain values, through every format."""
        arrived = arrive({"flat": 1, "value": value})
        assert repr(arrived) == repr({"flat": 1, "value": value if arrives is None else arrives})

    @pytest.mark.parametrize(
        ("value", "arrives"),
        [
            ([float("nan"), float("inf"), b"\x00\xff"], None),
            ({1: "a", None: "b", 2.5: "c", b"d": "d"}, None),
            (
                [bytearray(b"a"), memoryview(b"abcd"), memoryview(b"abcd")[::2]],
                [b"a", b"abcd", b"ac"],
            ),
        ],
    )
    def test_what_json_has_not(self, value: Any, arrives: Any) -> None:
        """Bytes, numbers that are none, and other keys than str; JSON says where they are."""
        expected = repr({"value": value if arrives is None else arrives})
        assert repr(detached({"value": value})) == expected
        assert repr(unpack(pack({"value": value}))) == expected
        with pytest.raises(InvalidMessageError, match=r"^message\['value'\].* JSON"):
            JSONSerializer().serialize({"value": value})

    def test_depth(self, arrive: Any) -> None:
        """As deep as is promised, plain or not."""
        for inmost in (1, (1,), {Color.RED: 1}):
            levels = MAX_DEPTH if inmost == 1 else MAX_DEPTH - 1
            assert arrive(nested(levels, inmost))

    def test_nothing_is_shared(self, arrive: Any) -> None:
        """Whatever the sender changes afterwards, what arrived stays."""
        inner: list[Any] = [[1]]
        arrived = arrive({"list": inner, "dict": {"x": inner}, "tuple": (inner,)})
        inner[0].append(2)
        inner.append(3)
        assert arrived == {"list": [[1]], "dict": {"x": [[1]]}, "tuple": [[[1]]]}


class TestRefused:
    """What does not, and what is said."""

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            (
                {"at": NOW},
                r"^message\['value'\]\['at'\]: datetime is nothing that a message carries",
            ),
            ([0, (1, ID)], r"^message\['value'\]\[1\]\[1\]: UUID is nothing"),
            (Decimal("1.5"), r"^message\['value'\]: Decimal is nothing"),
            ({"a": {1}}, r"\['a'\]: set is nothing"),
            (Shape.ROUND, r"\['value'\]: Shape is nothing"),
            (Path("x"), "Path is nothing"),
            (object(), "object is nothing"),
            (2**64, r"^message\['value'\]: int is not between"),
            ([1, -(2**63) - 1], r"\['value'\]\[1\]: int is not between"),
            ("\ud800", r"^message\['value'\]: str is not valid Unicode"),
            ({"\udfff": 1}, r"^message\['value'\]: str is not valid Unicode"),
            ({(1, 2): 3}, r"^message\['value'\]: tuple cannot be a key"),
            ({ID: 3}, r"^message\['value'\]: UUID is nothing"),
            ({frozenset(): 3}, r"^message\['value'\]: frozenset is nothing"),
        ],
    )
    def test_values(self, arrive: Any, value: Any, said: str) -> None:
        """A TypeError that names the way to the value, and its type."""
        with pytest.raises(InvalidMessageError, match=said) as caught:
            arrive({"flat": 1, "value": value})
        assert isinstance(caught.value, TypeError)

    def test_depth(self, arrive: Any) -> None:
        """Endless nesting too; a long way is shown in short."""
        endless: dict[str, Any] = {}
        endless["self"] = [endless]
        with pytest.raises(InvalidMessageError, match="levels of lists and dicts") as caught:
            arrive(endless)
        assert len(str(caught.value)) < 200
        with pytest.raises(InvalidMessageError, match="levels of lists and dicts"):
            arrive(nested(3 * MAX_DEPTH, {"x": NOW}))

    async def test_nothing_is_sent(self) -> None:
        """Also where there is nobody to receive it, as on Redis."""
        layer = InMemoryChannelLayer()
        for sending in (layer.send("jobs", {"at": NOW}), layer.group_send("room", {"at": NOW})):
            with pytest.raises(InvalidMessageError):
                await sending
        assert layer.local.mailboxes["jobs"].idle


class TestEncoders:
    """What an application teaches all layers."""

    def test_values_and_keys(self, arrive: Any) -> None:
        """An encoder is asked for values of its type, also among others, and as keys."""
        register_encoder(datetime, datetime.isoformat)
        register_encoder(uuid.UUID, str)
        message = {"at": NOW, "of": [{ID: (NOW,)}]}
        assert arrive(message) == {
            "at": NOW.isoformat(),
            "of": [{str(ID): [NOW.isoformat()]}],
        }

    def test_subclasses(self, arrive: Any) -> None:
        """The nearest class counts; what is carried anyway is not asked for."""
        register_encoder(date, lambda value: "a date")
        register_encoder(Enum, lambda value: ["enum", value.value])
        assert arrive({"at": NOW})["at"] == "a date"
        assert arrive({"shape": Shape.ROUND})["shape"] == ["enum", "round"]
        assert arrive({"color": Color.RED})["color"] == "red"
        register_encoder(datetime, lambda value: "a time")
        assert arrive({"at": NOW})["at"] == "a time"

    def test_results_are_encoded_too(self, arrive: Any) -> None:
        """What an encoder returns may hold values with encoders."""

        @dataclass
        class Event:
            at: datetime

        register_encoder(Event, lambda event: {"at": event.at})
        register_encoder(datetime, lambda value: (value.year,))
        assert arrive({"event": Event(NOW)}) == {"event": {"at": [2030]}}

    def test_an_encoder_that_returns_what_cannot_be_carried(self, arrive: Any) -> None:
        """Or itself, for ever, or that fails: the error names the value."""
        register_encoder(datetime, lambda value: {1, 2})
        with pytest.raises(InvalidMessageError, match=r"^message\['at'\]: set is nothing"):
            arrive({"at": NOW})
        register_encoder(datetime, lambda value: value)
        with pytest.raises(InvalidMessageError, match=r"^message\['at'\]: .*levels"):
            arrive({"at": NOW})
        register_encoder(datetime, lambda value: value / 0)
        with pytest.raises(InvalidMessageError, match=r"^message\['at'\]: the encoder of datetime"):
            arrive({"at": NOW})

    @pytest.mark.parametrize("kind", [int, bool, str, list, Color, Point, type(None)])
    def test_what_is_carried_needs_none(self, kind: type) -> None:
        """An encoder that would never be asked is a ValueError."""
        with pytest.raises(ValueError, match="without an encoder"):
            register_encoder(kind, repr)


def test_a_dict_is_asked_for() -> None:
    """Anything else is said to be none."""
    with pytest.raises(InvalidMessageError, match="must be a dict, not list"):
        plain([1])  # type: ignore[arg-type]


def some(*values: object) -> st.SearchStrategy[Any]:
    """By index: an enum that is a str too would be taken for a text that Hypothesis drew before."""
    return st.integers(0, len(values) - 1).map(values.__getitem__)


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    some(2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1),
    st.floats(),
    st.text(st.characters(), max_size=5),
    some("\ud83d", "a\udc00"),
    st.binary(max_size=5),
    st.builds(bytearray, st.binary(max_size=5)),
    some(Color.RED, Level.LOW, Shape.ROUND, Name("Ann"), Point(1, 2.5)),
    some(NOW, ID, Decimal(1), Path("x"), object()),
    st.sets(st.integers(0, 3)),
)
KEYS = st.one_of(
    st.text(CHARACTERS, max_size=3),
    st.integers(-(2**65), 2**65),
    some(None, True, 1.5, b"b", Color.RED, Level.LOW, ID, NOW, (1, 2), frozenset(), "\udc00"),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(CHARACTERS, max_size=3) | KEYS, inner, max_size=3),
        st.dictionaries(st.text(CHARACTERS, max_size=3), inner, max_size=3).map(
            lambda d: defaultdict(list, d)
        ),
    ),
    max_leaves=8,
)


@sequences(400, 1)
@example({"text": "🎉 \ud83d"})
@example({"text": "🎉", "number": 2**64 - 1})
@example({"number": 2**64})
@given(st.lists(st.tuples(st.text(CHARACTERS, max_size=3) | KEYS, LEAVES), max_size=4).map(dict))
def test_a_flat_message_takes_a_short_way_to_json(message: dict[Any, Any]) -> None:
    """To the bytes, or the refusal, of the long one."""
    try:
        expected = json.dumps(plain(message, json=True), separators=(",", ":")).encode()
    except InvalidMessageError as error:
        with pytest.raises(InvalidMessageError) as caught:
            JSONSerializer().serialize(message)
        said, expected_words = (
            str(one).replace("bytearray", "bytes") for one in (caught.value, error)
        )
        assert said == expected_words
    else:
        assert JSONSerializer().serialize(message) == expected


class Layers:
    """Every layer, each with a channel that is in a group."""

    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner()
        prefix = f"test-{uuid.uuid4().hex[:8]}"
        pubsub, queue = "pubsub-standalone", "queue-standalone"
        self.layers: dict[str, BaseChannelLayer] = {
            "memory": Backend("memory").make(),
            "pubsub": Backend(pubsub, url, f"{prefix}-1").make(),
            "queue": Backend(queue, url, f"{prefix}-2").make(),
            "pubsub json": Backend(pubsub, url, f"{prefix}-3").make(serializer_format="json"),
            "queue json": Backend(queue, url, f"{prefix}-4").make(serializer_format="json"),
        }
        self.channels = {name: self.runner.run(self.join(one)) for name, one in self.layers.items()}

    async def join(self, layer: BaseChannelLayer) -> str:
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        return channel

    def outcomes(self, value: Any) -> dict[str, str]:
        return self.runner.run(self._outcomes({"type": "test", "value": value}))

    async def _outcomes(self, message: dict[str, Any]) -> dict[str, str]:
        return {name: await self._outcome(name, message) for name in self.layers}

    async def _outcome(self, name: str, message: dict[str, Any]) -> str:
        """What arrived, twice, or why it was refused, twice; as text, which tells 1 from True."""
        layer, channel = self.layers[name], self.channels[name]
        outcomes = []
        for send in (layer.send(channel, message), layer.group_send("room", message)):
            try:
                await send
            except InvalidMessageError as error:
                outcomes.append(f"refused: {error}")
            else:
                async with asyncio.timeout(20):
                    outcomes.append(repr(await layer.receive(channel)))
        assert outcomes[0] == outcomes[1]
        return outcomes[0]

    async def close(self) -> None:
        async with AsyncExitStack() as stack:
            for layer in self.layers.values():
                stack.push_async_callback(layer.aclose)


@pytest.fixture
def layers(redis_server: RedisServer) -> Iterator[Layers]:
    layers = Layers(redis_server.url)
    yield layers
    layers.runner.run(layers.close())
    layers.runner.close()


def test_all_layers_agree(layers: Layers) -> None:
    """What one accepts all accept, and it arrives equal; what one refuses all refuse, by its way."""

    @sequences(150, 1)
    @example([NOW])
    @example({"a": (Color.RED, {(1, 2): 3})})
    @given(VALUES)
    def agree(value: Any) -> None:
        outcomes = layers.outcomes(value)
        by_msgpack = {outcomes.pop(name) for name in ("memory", "pubsub", "queue")}
        by_json = set(outcomes.values())
        assert len(by_msgpack) == len(by_json) == 1
        if by_msgpack != by_json:  # a value that JSON has not, maybe before another one
            (said,) = by_json
            assert said.startswith("refused: message['value']"), (by_msgpack, by_json)
            assert "JSON" in said, (by_msgpack, by_json)

    agree()
