"""Users on every layer: another process of the app reaches their sockets, and closes them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.identity import (
    SESSION_EXPIRED,
    SIGNED_OUT,
    IdentityMixin,
    close_user,
    send_to_user,
    session_end,
)
from fast_channels.layers import (
    BaseChannelLayer,
    RedisChannelLayer,
    RedisPubSubChannelLayer,
    register_channel_layer,
    unregister_channel_layer,
)
from fast_channels.testing import WebsocketCommunicator

from ..support.backends import over
from ..support.expect import DEADLINE
from ..support.redis_servers import RedisServer

ANN = "auth0|5f7c8ec7c33c6c004bbafe82"
TOLD = {"type": "note", "text": "for you"}


class Desk(IdentityMixin, AsyncJsonWebsocketConsumer):
    """Passes notes on; a client's frame has it wait for ever."""

    channel_layer_alias = "identity"
    disconnect_grace = 0.01

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json("waiting")
        await asyncio.Event().wait()

    async def note(self, message: dict[str, Any]) -> None:
        await self.send_json(message["text"])

    async def expire(self, message: dict[str, Any]) -> None:
        self.renew_session(time.time())

    async def layer_reconnected(self, message: dict[str, Any]) -> None:
        await self.send_json("there may be a gap")


@contextlib.contextmanager
def registered(layer: BaseChannelLayer) -> Iterator[None]:
    register_channel_layer("identity", layer)
    yield
    unregister_channel_layer("identity")


@pytest.fixture(autouse=True)
def desks_layer(request: pytest.FixtureRequest) -> Iterator[None]:
    """The layer of the process with the sockets."""
    if "layer" not in request.fixturenames:
        yield
        return
    with registered(request.getfixturevalue("layer")):
        yield


def desk(user: Any = ANN, **arguments: Any) -> WebsocketCommunicator:
    return WebsocketCommunicator(Desk.as_asgi(user=user, **arguments), "/")


@asynccontextmanager
async def open_desks(*clients: WebsocketCommunicator) -> AsyncIterator[None]:
    try:
        for client in clients:
            assert await client.connect(timeout=DEADLINE) == (True, None)
        yield
        for client in clients:
            await client.disconnect(timeout=DEADLINE)
    finally:
        for client in clients:
            await client.stop(exceptions=False)


async def heard(client: WebsocketCommunicator) -> Any:
    return await client.receive_json_from(timeout=DEADLINE)


async def closed(client: WebsocketCommunicator) -> tuple[int, str]:
    event = await client.receive_output(timeout=DEADLINE)
    assert event["type"] == "websocket.close", event
    await client.wait(timeout=DEADLINE)
    return event["code"], event.get("reason", "")


async def test_another_process_reaches_a_user(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """Each of their sockets, and nobody else's."""
    ours, other = [desk(), desk(session="b")], desk("bob")
    async with open_desks(*ours, other):
        await send_to_user(peer_layer, ANN, TOLD)
        await send_to_user(peer_layer, "bob", {"type": "note", "text": "for bob"})
        assert [await heard(client) for client in (*ours, other)] == ["for you"] * 2 + ["for bob"]


async def test_another_process_closes_a_users_sockets(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """Idle or waiting in a handler; what it sent before arrives before."""
    idle, busy, other = desk(), desk(), desk("bob")
    async with open_desks(idle, busy, other):
        await busy.send_json_to("wait")
        assert await heard(busy) == "waiting"
        await send_to_user(peer_layer, ANN, TOLD)
        await close_user(peer_layer, ANN, 4999, "Bye.")
        assert await heard(idle) == "for you"
        assert await closed(idle) == await closed(busy) == (4999, "Bye.")
        await send_to_user(peer_layer, "bob", TOLD)
        assert await heard(other) == "for you"


async def test_another_process_revokes_one_session(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """The user's other sockets stay."""
    revoked, kept = desk(session="1"), desk(session="2")
    async with open_desks(revoked, kept):
        await close_user(peer_layer, ANN, session="1")
        assert await closed(revoked) == (SIGNED_OUT, "")
        await send_to_user(peer_layer, ANN, TOLD)
        assert await heard(kept) == "for you"


@pytest.mark.parametrize("another_stays", [False, True])
async def test_a_socket_that_comes_after_a_close_stays(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer, another_stays: bool
) -> None:
    """A layer that keeps a log closes no one who signed in again."""
    before, other, again = desk(session="1"), desk(session="2"), desk(session="3")
    async with open_desks(before, *([other] if another_stays else [])):
        await close_user(peer_layer, ANN, session="1")
        assert await closed(before) == (SIGNED_OUT, "")
        if not another_stays:
            await close_user(peer_layer, ANN)
        async with open_desks(again):
            await send_to_user(peer_layer, ANN, TOLD)
            assert await heard(again) == "for you"


@over(["memory", "pubsub-standalone", "queue-standalone"])
async def test_an_expired_session_is_closed_on_every_layer(layer: BaseChannelLayer) -> None:
    """When its time has come; where the layer's servers are has no part in it."""
    expires_at = time.time() + 3
    client = desk(session_expires_at=expires_at)
    async with open_desks(client):
        assert (await closed(client))[0] == SESSION_EXPIRED
        assert time.time() >= expires_at


async def test_what_is_no_socket_ends_with_its_session(
    layer: BaseChannelLayer, peer_layer: BaseChannelLayer
) -> None:
    """A word to the user's other session, or to another user, ends nothing; nor does a message."""
    async with (
        asyncio.timeout(DEADLINE),
        session_end(layer, ANN, session="1") as revoked,
        session_end(layer, ANN, session="2") as kept,
    ):
        for _ in range(300):  # more than a mailbox holds
            await send_to_user(peer_layer, ANN, TOLD)
            await asyncio.sleep(0)
        await close_user(peer_layer, ANN, session="1")
        await revoked
        assert not kept.done()
        await close_user(peer_layer, ANN)
        await kept


# A process that is cut off: one user of the server is locked out, the other one goes on.


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        for name in ("listener", "sender"):
            running.execute("ACL", "SETUSER", name, "on", ">secret", "~*", "&*", "+@all")
        yield running


def url_of(server: RedisServer, name: str) -> str:
    return server.url.replace("redis://", f"redis://{name}:secret@")


async def cut_off(server: RedisServer) -> None:
    await asyncio.to_thread(server.execute, "ACL", "SETUSER", "listener", "off")
    await asyncio.to_thread(server.execute, "CLIENT", "KILL", "USER", "listener")


async def let_in(server: RedisServer) -> None:
    await asyncio.to_thread(server.execute, "ACL", "SETUSER", "listener", "on")


async def test_a_close_during_an_outage_arrives_after_it(server: RedisServer) -> None:
    """On the queue layer, which reads what it missed."""
    listener = RedisChannelLayer([url_of(server, "listener")])
    sender = RedisChannelLayer([url_of(server, "sender")])
    client, other = desk(session="1"), desk(session="2")
    async with listener, sender:
        with registered(listener):
            async with open_desks(client, other):
                await cut_off(server)
                await close_user(sender, ANN, session="1")
                await send_to_user(sender, ANN, TOLD)
                assert await client.receive_nothing(timeout=1.0)
                await let_in(server)
                assert await closed(client) == (SIGNED_OUT, "")
                assert await heard(other) == "for you"


async def test_a_close_during_an_outage_is_lost_without_a_log(server: RedisServer) -> None:
    """On the publish/subscribe layer: the sockets are told of a gap, and their sessions still expire."""
    listener = RedisPubSubChannelLayer([url_of(server, "listener")])
    sender = RedisPubSubChannelLayer([url_of(server, "sender")])
    client = desk(session_expires_at=time.time() + 3600)
    async with listener, sender, session_end(listener, ANN) as ended:
        with registered(listener):
            async with open_desks(client):
                await cut_off(server)
                await close_user(sender, ANN)
                await let_in(server)
                assert await heard(client) == "there may be a gap"
                assert (await asyncio.wait([ended], timeout=DEADLINE))[0]
                await send_to_user(sender, ANN, {"type": "expire"})
                assert (await closed(client))[0] == SESSION_EXPIRED
