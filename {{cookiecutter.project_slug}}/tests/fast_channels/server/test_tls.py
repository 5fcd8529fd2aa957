"""wss: the same protocol through TLS, which cannot be half-closed."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from websockets.asyncio.client import connect

from ..support.raw_websocket import TEXT, Echo, RawClient, frame, serving_in_thread
from ..support.tls_certificate import Certificate, make_certificate


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@dataclass
class Secure:
    address: tuple[str, int]
    app: Echo
    certificate: Certificate

    def client(self, path: str = "") -> RawClient:
        return RawClient(self.address, path, tls=self.certificate.client())


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def secure(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[Secure]:
    app = Echo()
    with serving_in_thread(
        app,
        loop=request.param,
        ssl_certfile=certificate.certificate,
        ssl_keyfile=certificate.key,
        ws_max_size=1_000_000,
    ) as address:
        yield Secure(address, app, certificate)


async def test_echo(secure: Secure) -> None:
    """Small and large messages, and pings, through TLS."""
    host, port = secure.address
    url = f"wss://{host}:{port}/tls-echo"
    async with connect(url, ssl=secure.certificate.client()) as client:
        for size in (0, 125, 65536, 900_000):
            for message in ("x" * size, b"x" * size):
                await client.send(message)
                assert await client.recv() == message
        await (await client.ping())
        many = [str(number) for number in range(2000)]
        sending = asyncio.create_task(client.send(many))  # one message in 2,000 fragments
        assert await client.recv() == "".join(many)
        await sending
        await client.close(4000)
    received = await asyncio.to_thread(secure.app.finally_received, "/tls-echo")
    assert received[-1]["code"] == 4000


def test_broken_rule(secure: Secure) -> None:
    """The close frame arrives before the connection ends, at once."""
    with secure.client("tls-broken") as client:
        client.send(frame(TEXT, b"\xff"))
        assert client.answer().code == 1007
    assert secure.app.finally_received("/tls-broken")[-1]["code"] == 1007


def test_client_vanishes(secure: Secure) -> None:
    """Also without a farewell of TLS."""
    with secure.client("tls-lost") as client:
        client.send(frame(TEXT, b"x"))
        client.next_frame()
    assert secure.app.finally_received("/tls-lost")[-1]["code"] == 1006
