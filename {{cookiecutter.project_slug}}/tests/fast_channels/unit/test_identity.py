"""Who is behind a socket: its user's group, the end of its session, and the word to close."""

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, strategies as st

from fast_channels import identity
from fast_channels.consumer import AsyncJsonWebsocketConsumer, AsyncWebsocketConsumer, handlers
from fast_channels.exceptions import (
    ChannelLayerUnavailable,
    InvalidNameError,
    NoChannelLayer,
    UnhandledMessage,
)
from fast_channels.identity import (
    SESSION_EXPIRED,
    SIGNED_OUT,
    IdentityMixin,
    close_user,
    send_to_user,
    session_end,
    user_group,
)
from fast_channels.layers import InMemoryChannelLayer
from fast_channels.names import check_group_name
from fast_channels.testing import WebsocketCommunicator

from ..support.expect import DEADLINE, eventually
from ..support.properties import CHARACTERS, sequences

TOLD = {"type": "note", "text": "for you"}


class Desk(IdentityMixin, AsyncJsonWebsocketConsumer):
    """Passes notes on, is renewed by a message, and waits for ever when its client says something."""

    codes: list[int]

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json("waiting")
        await asyncio.Event().wait()

    async def renew(self, message: dict[str, Any]) -> None:
        try:
            self.renew_session(message["until"])
        except (TypeError, ValueError) as error:
            await self.send_json(str(error))
        else:
            await self.send_json("renewed")

    async def note(self, message: dict[str, Any]) -> None:
        await self.send_json(message["text"])

    async def disconnect(self, code: int) -> None:
        self.codes.append(code)


def desk(user: Any = "ann", kind: type[Desk] = Desk, **arguments: Any) -> WebsocketCommunicator:
    return WebsocketCommunicator(kind.as_asgi(user=user, codes=[], **arguments), "/")


async def renewed(client: WebsocketCommunicator, layer: InMemoryChannelLayer, until: Any) -> str:
    """What the socket of the only user says of a renewal."""
    await send_to_user(layer, "ann", {"type": "renew", "until": until})
    answer = await client.receive_json_from(timeout=DEADLINE)
    assert isinstance(answer, str)
    return answer


async def closed(client: WebsocketCommunicator) -> tuple[int, str]:
    """The code and reason with which the application closes, and has ended after it."""
    event = await client.receive_output(timeout=DEADLINE)
    assert event["type"] == "websocket.close", event
    await client.wait(timeout=DEADLINE)
    return event["code"], event.get("reason", "")


@asynccontextmanager
async def open_desks(*clients: WebsocketCommunicator) -> AsyncIterator[None]:
    """Connected at the beginning; which of them are still open at the end have to be left."""
    for client in clients:
        assert await client.connect(timeout=DEADLINE) == (True, None)
    yield
    for client in clients:
        await client.disconnect(timeout=DEADLINE)


# Names

IDS = st.text(CHARACTERS, min_size=1) | st.text("aZ09-_.", min_size=1, max_size=70)


@sequences(200, 1)
@given(IDS, IDS)
def test_each_user_has_a_group_of_their_own(one: str, other: str) -> None:
    """Any text is an id: its group's name is valid, the same each time, and nobody else's."""
    check_group_name(user_group(one))
    assert (user_group(one) == user_group(other)) == (one == other)


@pytest.mark.parametrize(
    "user_id",
    [
        "a@b.example",
        "auth0|123",
        "..",
        "sha256.x",
        " ",
        "\ud800",
        "é",
        "e\u0301",
        "x" * 65,
        "x" * 999,
    ],
)
def test_ids_that_no_name_holds(user_id: str) -> None:
    """They become a digest, which no readable id can be."""
    group = user_group(user_id)
    check_group_name(group)
    assert group.startswith("user.sha256.")
    assert user_group(group.removeprefix("user.")) != group


def test_readable_ids_stay_readable() -> None:
    """Numbers and UUIDs are the text that they are written as."""
    number, known = 42, uuid.UUID(int=7)
    assert user_group(number) == user_group("42") == "user.42"
    assert user_group(known) == user_group(str(known)) == f"user.{known}"
    assert user_group(-1) == "user.-1"


@pytest.mark.parametrize("user_id", ["", None, True, 4.2, b"ann", ["ann"], {"id": 1}])
async def test_what_is_no_id(user_id: Any) -> None:
    """The error says what is one, to whoever sends, and to a session that is named."""
    layer = InMemoryChannelLayer()
    for call in (
        lambda: send_to_user(layer, user_id, TOLD),
        lambda: close_user(layer, user_id),
        lambda: close_user(layer, "ann", session=user_id if user_id is not None else ""),
    ):
        with pytest.raises(
            InvalidNameError, match="must be a non-empty str, an int or a UUID, not"
        ):
            await call()


# Reaching a user


async def test_a_message_reaches_each_socket_of_a_user(memory_layer: InMemoryChannelLayer) -> None:
    """However the user is given: by id, or as an object that has one. Nobody else hears of it."""

    class Row:
        id = 7

    ours = [desk(7), desk("7"), desk(Row())]
    others = [desk("8"), desk(None)]
    async with open_desks(*ours, *others):
        await send_to_user(memory_layer, 7, TOLD)
        for client in ours:
            assert await client.receive_json_from() == "for you"
        for client in others:
            assert await client.receive_nothing(timeout=0.01)


async def test_an_id_of_another_kind(memory_layer: InMemoryChannelLayer) -> None:
    """An override of `user_id` says what it is, such as what a middleware has put into the scope."""

    class Own(Desk):
        @property
        def user_id(self) -> Any:
            return self.scope["headers"][0][1].decode()

    application = Own.as_asgi(codes=[])
    client = WebsocketCommunicator(application, "/", headers=[("x-user", "ann@b.example")])
    async with open_desks(client):
        await send_to_user(memory_layer, "ann@b.example", TOLD)
        assert await client.receive_json_from() == "for you"


async def test_the_group_is_joined_before_connect(memory_layer: InMemoryChannelLayer) -> None:
    """What is sent from `connect()` on is heard; after the end the user has no socket here."""

    class Early(Desk):
        async def connect(self) -> None:
            await send_to_user(self.channel_layer, self.user, TOLD)
            await super().connect()

    client = desk(kind=Early)
    async with open_desks(client):
        assert await client.receive_json_from() == "for you"
    assert memory_layer.local.members == {}


@pytest.mark.parametrize("order", ["first", "last"])
async def test_the_mixin_may_stand_before_or_behind(
    memory_layer: InMemoryChannelLayer, order: str
) -> None:
    """Either way its methods come before those that it overrides."""
    bases = (IdentityMixin, AsyncJsonWebsocketConsumer)
    kind: Any = type("Kind", bases if order == "first" else bases[::-1], {})
    client = WebsocketCommunicator(kind.as_asgi(user="ann"), "/")
    async with open_desks(client):
        await close_user(memory_layer, "ann")
        assert await closed(client) == (SIGNED_OUT, "")


async def test_without_a_layer() -> None:
    """Guests are served, and their sessions expire; for a user the error says what is missing."""
    client = desk(None, session_expires_at=time.time() + 1.5)
    async with open_desks(client):
        assert (await closed(client))[0] == SESSION_EXPIRED
    with pytest.raises(
        NoChannelLayer, match="Desk has no channel layer: register one as 'default'"
    ):
        await desk("ann").connect()


# Closing


async def test_all_sockets_of_a_user_are_closed(memory_layer: InMemoryChannelLayer) -> None:
    """With the code and the reason that were sent, which `disconnect()` gets too; nobody else's."""
    codes: list[int] = []
    ours = [WebsocketCommunicator(Desk.as_asgi(user="ann", codes=codes), "/") for _ in range(3)]
    other = desk("bob")
    async with open_desks(*ours, other):
        await close_user(memory_layer, "ann", 4999, "Bye.")
        for client in ours:
            assert await closed(client) == (4999, "Bye.")
        assert codes == [4999] * 3
        await send_to_user(memory_layer, "bob", TOLD)
        assert await other.receive_json_from() == "for you"


async def test_one_session_is_revoked(memory_layer: InMemoryChannelLayer) -> None:
    """The user's other sessions, and sockets without one, stay; ids of the same text are the same."""
    known = uuid.UUID(int=7)
    revoked = [desk(session=known), desk(session=str(known))]
    others = [desk(session="2"), desk(), desk(session="None")]
    async with open_desks(*revoked, *others):
        await close_user(memory_layer, "ann", session=known)
        for client in revoked:
            assert await closed(client) == (SIGNED_OUT, "")
        await send_to_user(memory_layer, "ann", TOLD)
        for client in others:
            assert await client.receive_json_from() == "for you"


async def test_what_came_before_the_close_is_handled_first(
    memory_layer: InMemoryChannelLayer,
) -> None:
    """So a farewell can be sent; what comes after it is for nobody."""
    client = desk()
    async with open_desks(client):
        for number in range(3):
            await send_to_user(memory_layer, "ann", {"type": "note", "text": number})
        await close_user(memory_layer, "ann")
        await send_to_user(memory_layer, "ann", TOLD)
        assert [await client.receive_json_from() for _ in range(3)] == [0, 1, 2]
        assert await closed(client) == (SIGNED_OUT, "")


async def test_a_socket_is_closed_while_a_handler_waits(memory_layer: InMemoryChannelLayer) -> None:
    """The handler is cancelled after the consumer's grace."""
    client = desk(kind=type("Hasty", (Desk,), {"disconnect_grace": 0.01}))
    async with open_desks(client):
        await client.send_json_to("wait")
        assert await client.receive_json_from() == "waiting"
        started = time.monotonic()
        await close_user(memory_layer, "ann", reason="Enough.")
        assert await closed(client) == (SIGNED_OUT, "Enough.")
        assert time.monotonic() - started >= identity.PATIENCE


async def test_a_socket_is_closed_though_its_mailbox_is_full(
    memory_layer: InMemoryChannelLayer,
) -> None:
    """Whatever the policy of overflow would do to the message that says so."""
    hasty = {"disconnect_grace": 0.01, "overflow_grace": 60.0}
    for overflow in ("drop_newest", "drop_oldest"):
        client = desk(kind=type("Hasty", (Desk,), {**hasty, "overflow": overflow}))
        async with open_desks(client):
            await client.send_json_to("wait")
            assert await client.receive_json_from() == "waiting"
            for _ in range(memory_layer.capacity):
                await send_to_user(memory_layer, "ann", TOLD)
            await close_user(memory_layer, "ann", 4000)
            for _ in range(memory_layer.capacity):
                await send_to_user(memory_layer, "ann", TOLD)
            assert await closed(client) == (4000, "")


@pytest.mark.parametrize("how", ["told", "expired"])
async def test_a_socket_that_is_in_its_connect_is_refused(
    memory_layer: InMemoryChannelLayer, how: str
) -> None:
    """Although `connect()` never ends by itself."""
    gate = asyncio.Event()

    class Slow(Desk):
        disconnect_grace = 0.01

        async def connect(self) -> None:
            gate.set()
            await asyncio.Event().wait()

    expires_at = time.time() + 1.5 if how == "expired" else None
    client = desk(kind=Slow, session_expires_at=expires_at)
    await client.send_input({"type": "websocket.connect"})
    await gate.wait()
    if how == "told":
        await close_user(memory_layer, "ann")
    event = await client.receive_output(timeout=DEADLINE)
    assert event["type"] == "websocket.close"
    await client.wait(timeout=DEADLINE)


async def test_an_accept_after_the_refusal_is_no_error(memory_layer: InMemoryChannelLayer) -> None:
    """Also before the server has said that the socket has ended."""
    sent: list[str] = []
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    class Slow(Desk):
        async def connect(self) -> None:
            await eventually(lambda: bool(sent), "the refusal")
            await self.accept()
            await self.send_json("welcome")
            inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})

    async def send(event: Any) -> None:
        sent.append(event["type"])

    inbox.put_nowait({"type": "websocket.connect"})
    consumer = Slow(user="ann", codes=[])
    running = asyncio.create_task(consumer({"type": "websocket"}, inbox.get, send))
    await eventually(lambda: bool(memory_layer.local.members), "it to come")
    await close_user(memory_layer, "ann")
    await running
    assert sent == ["websocket.close"]
    assert consumer.codes == [1006]


async def test_two_closes_are_one(memory_layer: InMemoryChannelLayer) -> None:
    """The first one counts."""
    client = desk(kind=type("Hasty", (Desk,), {"disconnect_grace": 0.01}))
    async with open_desks(client):
        await client.send_json_to("wait")
        assert await client.receive_json_from() == "waiting"
        await close_user(memory_layer, "ann", 4001)
        await close_user(memory_layer, "ann", 4002)
        assert await closed(client) == (4001, "")


@pytest.mark.parametrize(
    ("code", "reason"),
    [(999, ""), (1005, ""), (5000, ""), (True, ""), ("4000", ""), (4000, "é" * 62), (4000, None)],
)
async def test_what_no_endpoint_may_send_is_refused(code: Any, reason: Any) -> None:
    """By an error at the sender; it reaches no socket."""
    with pytest.raises(ValueError, match=r"A close (code must be 1000 to|reason must be a str of)"):
        await close_user(InMemoryChannelLayer(), "ann", code, reason)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"code": 1},
        {"code": "4000"},
        {"reason": 5},
        {"reason": "x" * 124},
        {"code": [], "reason": {}},
    ],
)
@pytest.mark.parametrize("kind", ["identity.close", "identity_close"])
async def test_a_forged_close_does_nothing_but_close(
    memory_layer: InMemoryChannelLayer, fields: dict[str, Any], kind: str
) -> None:
    """What it says of code and reason is used only if it may be."""
    client = desk()
    async with open_desks(client):
        await memory_layer.group_send(user_group("ann"), {"type": kind, **fields})
        assert await closed(client) == (SIGNED_OUT, "")


async def test_no_other_method_can_be_called(memory_layer: InMemoryChannelLayer) -> None:
    """Of all that the module defines, a message reaches `identity_close` alone."""
    before = handlers.refusals.total
    names = {*vars(IdentityMixin), *IdentityMixin.__annotations__} - {"identity_close"}
    kind = Desk.layer_handlers()
    for name in names:
        with pytest.raises(UnhandledMessage):
            kind.require(Desk(), {"type": name})
    kind.require(Desk(), {"type": "identity.close"})
    assert handlers.refusals.total == before
    assert len(names) > 10


async def test_a_class_that_declares_its_handlers_is_closed_as_well(
    memory_layer: InMemoryChannelLayer,
) -> None:
    """And one that overrides the event can add to it."""

    class Declared(Desk):
        handlers = ("note",)

        async def identity_close(self, message: dict[str, Any]) -> None:
            await self.send_json("farewell")
            await super().identity_close(message)

    client = desk(kind=Declared)
    async with open_desks(client):
        await close_user(memory_layer, "ann")
        assert await client.receive_json_from() == "farewell"
        assert await closed(client) == (SIGNED_OUT, "")


async def test_another_consumer_in_the_group_is_not_closed(
    memory_layer: InMemoryChannelLayer,
) -> None:
    """A close is refused by one that has no identity, as any message without a handler."""

    class Plain(AsyncWebsocketConsumer):
        groups = (user_group("ann"),)

    client = WebsocketCommunicator(Plain, "/")
    assert await client.connect() == (True, None)
    await close_user(memory_layer, "ann")
    with pytest.raises(UnhandledMessage, match="has no method identity_close"):
        await client.wait(timeout=DEADLINE)


# Expiry


async def test_an_expired_session_closes_its_socket(memory_layer: InMemoryChannelLayer) -> None:
    """Then and not before, also while a handler waits; another session's stays."""
    hasty = type("Hasty", (Desk,), {"disconnect_grace": 0.01})
    expires_at = time.time() + 2
    idle, busy = (
        desk(session_expires_at=expires_at),
        desk(kind=hasty, session_expires_at=expires_at),
    )
    other = desk(session_expires_at=time.time() + 3600)
    async with open_desks(idle, busy, other):
        await busy.send_json_to("wait")
        assert await busy.receive_json_from() == "waiting"
        for client in (idle, busy):
            assert await closed(client) == (SESSION_EXPIRED, "The session has expired.")
        assert time.time() >= expires_at
        await send_to_user(memory_layer, "ann", TOLD)
        assert await other.receive_json_from() == "for you"


async def test_the_timer_is_set_for_the_expiry(memory_layer: InMemoryChannelLayer) -> None:
    """So it is no machine's speed that says how soon after it a socket is closed."""
    made: list[Desk] = []

    class Kept(Desk):
        async def connect(self) -> None:
            made.append(self)
            await super().connect()

    expires_at = time.time() + 3600
    async with open_desks(desk(kind=Kept, session_expires_at=expires_at)):
        timer = made[0]._close_timer
        assert timer is not None
        left = timer.when() - asyncio.get_running_loop().time()
        assert left == pytest.approx(expires_at - time.time(), abs=0.5)


async def test_a_renewal_moves_the_expiry(memory_layer: InMemoryChannelLayer) -> None:
    """Later, to never, and sooner."""
    first_expiry = time.time() + 2
    client = desk(session_expires_at=first_expiry)
    async with open_desks(client):
        assert await renewed(client, memory_layer, time.time() + 3600) == "renewed"
        assert await renewed(client, memory_layer, None) == "renewed"
        await asyncio.sleep(first_expiry + 0.1 - time.time())
        until = time.time() + 0.3
        assert await renewed(client, memory_layer, until) == "renewed"
        assert (await closed(client))[0] == SESSION_EXPIRED
        assert time.time() >= until


async def test_a_renewal_does_not_put_off_a_close(memory_layer: InMemoryChannelLayer) -> None:
    """Who was signed out stays so."""

    class Renewing(Desk):
        disconnect_grace = 0.01

        async def note(self, message: dict[str, Any]) -> None:
            await asyncio.sleep(identity.PATIENCE / 4)
            self.renew_session(time.time() + 3600)
            await asyncio.Event().wait()

    client = desk(kind=Renewing)
    async with open_desks(client):
        await send_to_user(memory_layer, "ann", TOLD)
        await close_user(memory_layer, "ann")
        assert await closed(client) == (SIGNED_OUT, "")


@pytest.mark.parametrize("expires_at", [0, -1e300, -math.inf, 1_000_000_000])
async def test_a_session_that_is_past_opens_nothing(
    memory_layer: InMemoryChannelLayer, expires_at: float
) -> None:
    """HTTP 401 before `connect()`; a renewal to the past closes at once."""

    class Unreached(Desk):
        async def connect(self) -> None:
            raise AssertionError

    client = desk(kind=Unreached, session_expires_at=expires_at)
    assert await client.connect() == (False, 401)
    await client.disconnect()
    client = desk()
    async with open_desks(client):
        assert await renewed(client, memory_layer, expires_at) == "renewed"
        assert (await closed(client))[0] == SESSION_EXPIRED


@pytest.mark.parametrize("expires_at", [math.inf, 1e300, 2**63, 10**400, 4_102_444_800])
async def test_a_session_that_expires_in_a_far_future(
    memory_layer: InMemoryChannelLayer, expires_at: float
) -> None:
    """Stays open."""
    client = desk(session_expires_at=expires_at)
    async with open_desks(client):
        assert await renewed(client, memory_layer, min(expires_at, 2**63)) == "renewed"
        await send_to_user(memory_layer, "ann", TOLD)
        assert await client.receive_json_from() == "for you"


@pytest.mark.parametrize("expires_at", [math.nan, "1700000000", True, [1]])
async def test_what_is_no_time(memory_layer: InMemoryChannelLayer, expires_at: Any) -> None:
    """A renewal says so and changes nothing; at the beginning it is the app's error."""
    client = desk()
    async with open_desks(client):
        said = await renewed(client, memory_layer, expires_at)
        assert said.startswith("A session expires at a Unix time in seconds")
    with pytest.raises(
        (TypeError, ValueError), match="A session expires at a Unix time in seconds"
    ):
        await desk(session_expires_at=expires_at).connect()


async def test_setting_the_clock_moves_no_session(
    memory_layer: InMemoryChannelLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seconds pass by the monotonic clock once the expiry is known."""
    soon, later = (
        desk(session_expires_at=time.time() + 2),
        desk(session_expires_at=time.time() + 3600),
    )
    async with open_desks(soon, later):
        true_time = time.time
        monkeypatch.setattr(identity.time, "time", lambda: true_time() - 7200)
        assert (await closed(soon))[0] == SESSION_EXPIRED
        monkeypatch.setattr(identity.time, "time", lambda: true_time() + 7200)
        await send_to_user(memory_layer, "ann", TOLD)
        assert await later.receive_json_from() == "for you"
        monkeypatch.undo()


async def test_a_renewal_after_the_end_is_nothing(memory_layer: InMemoryChannelLayer) -> None:
    """No timer outlives its socket, and none is made for one that has ended."""
    made: list[Desk] = []

    class Kept(Desk):
        async def connect(self) -> None:
            made.append(self)
            await super().connect()

        async def disconnect(self, code: int) -> None:
            self.renew_session(time.time() + 3600)

    async with open_desks(desk(kind=Kept, session_expires_at=time.time() + 3600)):
        timer = made[0]._close_timer
        assert timer is not None
        assert not timer.cancelled()
    last = made[0]._close_timer
    assert last is not None
    assert timer.cancelled()
    assert last.cancelled()
    made[0].renew_session(time.time() + 3600)
    assert made[0]._close_timer is last


async def test_while_the_broker_is_away_a_socket_is_refused_with_503(
    memory_layer: InMemoryChannelLayer, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Without an error in the log: the layer says enough of it."""

    async def away(group: str, channel: str) -> None:
        raise ChannelLayerUnavailable("the broker is away")

    monkeypatch.setattr(memory_layer, "group_add", away)
    client = desk()
    assert await client.connect() == (False, 503)
    await client.disconnect()
    assert caplog.text == ""


async def test_many_sockets_of_many_users_are_closed_from_another_thread(
    memory_layer: InMemoryChannelLayer,
) -> None:
    """The layer of memory takes messages from any thread; each socket closes in its own loop."""
    clients = {number: desk(number, session=number % 2) for number in range(40)}
    async with open_desks(*clients.values()):

        async def close_all() -> None:
            for number in clients:
                await close_user(memory_layer, number, session=0)

        await asyncio.to_thread(lambda: asyncio.run(close_all()))
        for number, client in clients.items():
            if number % 2 == 0:
                assert await closed(client) == (SIGNED_OUT, "")
        await eventually(lambda: len(memory_layer.local.members) == 20, "the others to stay")


async def test_what_is_no_socket_ends_when_its_session_expires(
    memory_layer: InMemoryChannelLayer,
) -> None:
    """Or at once, if that is past; a block that ends before leaves nothing behind."""
    async with asyncio.timeout(DEADLINE):
        async with session_end(memory_layer, 7, expires_at=time.time() + 0.3) as over:
            assert not over.done()
            await over
        async with session_end(memory_layer, 7, expires_at=time.time() - 1) as over:
            await over
        async with session_end(memory_layer, 7) as over:
            pass
        await asyncio.wait([over])
    assert over.cancelled()
    assert not memory_layer.local.members
