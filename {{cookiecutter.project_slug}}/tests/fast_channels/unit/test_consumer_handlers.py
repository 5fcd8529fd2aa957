"""What one message of the layer can do to a consumer: call a handler of its own, and nothing else."""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, strategies as st

from fast_channels.consumer import (
    AsyncConsumer,
    AsyncHttpConsumer,
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    handlers,
)
from fast_channels.exceptions import UnhandledMessage
from fast_channels.layers import (
    InMemoryChannelLayer,
    register_channel_layer,
    unregister_channel_layer,
)
from fast_channels.testing import WebsocketCommunicator
from fast_channels.type_defs import Event
from fast_channels.worker import Worker

from ..support.expect import eventually
from ..support.properties import CHARACTERS, sequences
from ..support.worker_bench import Ledger

FRAMEWORK = (AsyncWebsocketConsumer, AsyncJsonWebsocketConsumer, AsyncHttpConsumer)


def names_of(*classes: type) -> list[str]:
    """Every attribute, public or private, that the classes and their bases have or announce."""
    found: set[str] = set()
    for one in classes:
        found.update(dir(one), *(base.__annotations__ for base in one.__mro__[:-1]))
    return sorted(found - {"layer_reconnected"})


class Served:
    """A consumer as a server runs it, without a communicator: what it sends, and how it ends."""

    def __init__(self, layer: InMemoryChannelLayer, consumer: AsyncConsumer) -> None:
        self.layer, self.consumer = layer, consumer
        self.sent: list[Event] = []
        self.inbox: asyncio.Queue[Event] = asyncio.Queue()
        self.noted = asyncio.Event()

    async def send(self, event: Event) -> None:
        self.sent.append(event)
        if event["type"] == "note":
            self.noted.set()

    async def tell(self, message: dict[str, Any]) -> list[Event]:
        """What the consumer sends because of the message, once the next one has been handled."""
        before = len(self.sent)
        self.noted.clear()
        await self.layer.send(self.consumer.channel_name, message)
        await self.layer.send(self.consumer.channel_name, {"type": "own.note"})
        async with asyncio.timeout(10):
            await self.noted.wait()
        return self.sent[before:-1]


class Note:
    async def own_note(self, message: dict[str, Any]) -> None:
        await self._asgi_send({"type": "note"})  # type: ignore[attr-defined]


@asynccontextmanager
async def served(consumer_class: type[AsyncConsumer]) -> AsyncIterator[Served]:
    layer = InMemoryChannelLayer()
    register_channel_layer("default", layer)
    kind = "http" if issubclass(consumer_class, AsyncHttpConsumer) else "websocket"
    consumer = type("Own", (Note, consumer_class), {})()
    one = Served(layer, consumer)
    if kind == "websocket":
        one.inbox.put_nowait({"type": "websocket.connect"})
    running = asyncio.create_task(consumer({"type": kind, "path": "/"}, one.inbox.get, one.send))
    try:
        await eventually(lambda: bool(one.sent) or kind == "http", "the consumer to start")
        await eventually(lambda: bool(consumer.channel_name), "its channel")
        yield one
        assert not running.done()
        one.inbox.put_nowait({"type": f"{kind}.disconnect"})
        async with asyncio.timeout(10):
            await running
    finally:
        running.cancel()
        await asyncio.wait([running])
        unregister_channel_layer("default")


# What the framework defines


@pytest.mark.parametrize("consumer", FRAMEWORK, ids=lambda one: one.__name__)
async def test_no_attribute_of_the_framework_can_be_called(consumer: type[AsyncConsumer]) -> None:
    """Whatever the base classes define: a message of that type does nothing, and is counted."""
    async with served(consumer) as one:
        state = {**vars(one.consumer)}
        names = names_of(consumer)
        assert len(names) > 50
        for name in names:
            spellings = {name, name.replace("_", "."), name.lstrip("_")} - {""}
            before = handlers.refusals.total
            for spelling in spellings:
                assert await one.tell({"type": spelling, "code": 1, "text": "x"}) == [], spelling
            assert handlers.refusals.total - before == len(spellings), name
        assert vars(one.consumer) == state


@given(
    st.lists(
        st.text(CHARACTERS, max_size=20)
        | st.integers()
        | st.none()
        | st.lists(st.text(CHARACTERS)),
        max_size=30,
    )
)
@sequences(15, 1)
def test_no_type_ends_a_socket(types: list[Any]) -> None:
    """Of whatever characters, or of another kind; each is refused, and the next message is handled."""

    async def tell() -> None:
        async with served(AsyncJsonWebsocketConsumer) as one:
            before = handlers.refusals.total
            for kind in types:
                assert await one.tell({"type": kind}) == []
            assert await one.tell({}) == []
            assert handlers.refusals.total - before == len(types) + 1

    asyncio.run(tell())


class Overriding(AsyncWebsocketConsumer):
    """The methods that one overrides stay those of the framework."""

    async def connect(self) -> None:
        await self.accept()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        raise AssertionError("the client has sent nothing")

    async def disconnect(self, code: int) -> None:
        """Once, at the end."""

    async def websocket_receive(self, message: Event) -> None:
        raise AssertionError("the client has sent nothing")

    async def websocket_other(self, message: Event) -> None:
        raise AssertionError("this is no word of the server's")


@pytest.mark.parametrize(
    "kind", ["connect", "receive", "disconnect", "websocket.receive", "websocket.other"]
)
async def test_overridden_methods_cannot_be_called(kind: str) -> None:
    """A message cannot speak as the client, nor as the server."""
    async with served(Overriding) as one:
        assert await one.tell({"type": kind, "text": "hello"}) == []


async def test_refusals_are_logged_at_a_bounded_rate(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for all, which names the type and the class."""
    warning = handlers.ThrottledWarning(handlers.logger, "%d refused, the last: %s")
    monkeypatch.setattr(handlers, "refusals", warning)
    async with served(AsyncWebsocketConsumer) as one:
        for _ in range(90):
            await one.layer.send(one.consumer.channel_name, {"type": "send"})
        await one.tell({"type": "send"})
    assert warning.total == 91
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "'send' to Own: send() is not for messages of the layer" in record.getMessage()


# What is a handler


def decorated(handler: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(handler)
    def wrapper(*args: Any) -> Any:
        return handler(*args)

    return wrapper


class Asynchronous:
    """A handler as an object, as some decorators make them."""

    async def __call__(self, message: Event) -> None:
        Mixed.called.append("object")


class Mixed(AsyncWebsocketConsumer):
    room = "lobby"
    anything: Any = Asynchronous()
    called: list[str] = []  # noqa: RUF012 - one test at a time

    class Inner:
        """Not a handler."""

    @property
    def expensive(self) -> str:
        raise AssertionError("not even read")

    async def plain(self, message: Event) -> None:
        self.called.append("plain")

    async def with_default(self, message: Event, more: int = 0) -> None:
        self.called.append("default")

    @decorated
    async def with_decorator(self, message: Event) -> None:
        self.called.append("decorated")

    @classmethod
    async def of_class(cls, message: Event) -> None:
        cls.called.append("class")

    @staticmethod
    async def static(message: Event) -> None:
        Mixed.called.append("static")

    async def helper(self) -> None:
        self.called.append("helper")

    async def helper_of_two(self, message: Event, room: str) -> None:
        self.called.append("helper of two")

    def synchronous(self, message: Event) -> None:
        self.called.append("synchronous")

    async def late(self, message: Event) -> None:
        await self.dispatch({"type": "no.such"})


@pytest.mark.parametrize(
    ("kind", "called"),
    [
        ("plain", ["plain"]),
        ("with.default", ["default"]),
        ("with.decorator", ["decorated"]),
        ("of.class", ["class"]),
        ("static", ["static"]),
        ("anything", ["object"]),
        ("room", []),
        ("Inner", []),
        ("expensive", []),
        ("helper", []),
        ("helper.of_two", []),
        ("synchronous", []),
        ("late", []),
        ("no.such", []),
        ("name", []),
        ("callback", []),
    ],
)
async def test_what_a_message_may_call(kind: str, called: list[str]) -> None:
    """Async methods of the class's own that take one message; all else is refused."""
    Mixed.called.clear()
    async with served(Mixed) as one:
        vars(one.consumer).update(name="Ann", callback=lambda message: Mixed.called.append("own"))
        before = handlers.refusals.total
        assert await one.tell({"type": kind}) == []
        assert Mixed.called == called
        assert handlers.refusals.total - before == (0 if called else 1)


async def test_handler_of_an_instance() -> None:
    """An async function that an instance was given can be called too."""
    got: list[Event] = []

    async def note(message: Event) -> None:
        got.append(message)

    async with served(AsyncWebsocketConsumer) as one:
        vars(one.consumer)["chat_note"] = note
        await one.tell({"type": "chat.note"})
    assert got == [{"type": "chat.note"}]


async def test_overridden_dispatch_may_know_more_types() -> None:
    """What no attribute has the name of is left to dispatch(), and to it alone."""
    seen: list[str] = []

    class Knowing(AsyncWebsocketConsumer):
        async def dispatch(self, message: Event) -> None:
            if message["type"].startswith("topic."):
                seen.append(message["type"])
            else:
                await super().dispatch(message)

    async with served(Knowing) as one:
        await one.tell({"type": "topic.weather"})
        await one.tell({"type": "send"})
    assert seen == ["topic.weather"]


# Declared handlers


@pytest.mark.parametrize("declared", [["plain"], {"plain": 1}, frozenset({"plain"}), ("plain",)])
async def test_declared_handlers_are_all_there_are(declared: Any) -> None:
    """With `handlers` no other method can be called, but for the layer's own event."""
    gaps: list[Event] = []

    class Declared(Mixed):
        handlers = ["own.note", *declared]  # noqa: RUF012

        async def layer_reconnected(self, message: Event) -> None:
            gaps.append(message)

    Mixed.called.clear()
    async with served(Declared) as one:
        before = handlers.refusals.total
        for kind in ("plain", "with.default", "no.such", "anything", "layer.reconnected"):
            await one.tell({"type": kind})
    assert Mixed.called == ["plain"]
    assert len(gaps) == 1
    assert handlers.refusals.total - before == 3


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ("chat.message", "collection of message types, not 'chat.message'"),
        (5, "collection of message types, not 5"),
        (["chat.message", "send.json"], r"what its base classes define: \['send_json'\]"),
        (["websocket.receive"], r"\['websocket_receive'\]"),
        (["_private"], "must not start with _"),
    ],
)
async def test_wrong_declaration(
    memory_layer: InMemoryChannelLayer, declared: Any, words: str
) -> None:
    """A ValueError that says what was expected and what came."""
    consumer = type("Wrong", (AsyncJsonWebsocketConsumer,), {"handlers": declared})
    with pytest.raises(ValueError, match=words):
        await WebsocketCommunicator(consumer, "/").connect()


# In tests, and in workers


@pytest.mark.parametrize("kind", ["no.such", "send", "websocket.receive", "_private", None])
async def test_a_communicator_raises(memory_layer: InMemoryChannelLayer, kind: Any) -> None:
    """The test that sends what nobody handles is told, as a ValueError of the application."""

    class Member(AsyncWebsocketConsumer):
        groups = ("room",)

    client = WebsocketCommunicator(Member, "/")
    await client.connect()
    await memory_layer.group_send("room", {"type": kind})
    with pytest.raises(UnhandledMessage):
        await client.receive_output()
    assert (await client.receive_output())["code"] == 1011


@pytest.mark.parametrize("kind", ["bind.layer", "cleanup", "no.such", "helper"])
async def test_a_job_that_no_handler_is_for_fails(jobs: Ledger, kind: str) -> None:
    """After its attempts it is a dead letter whose reason says why."""

    class Working(AsyncConsumer):
        async def helper(self) -> None:
            raise AssertionError("not a handler")

    async with Worker(jobs, {"jobs": Working}, max_attempts=2):
        await jobs.send("jobs", {"type": kind, "number": 0})
        (letter,) = await jobs.buried()
    assert letter.attempts == 2
    assert "UnhandledMessage" in letter.reason
    assert jobs.acknowledged == []
