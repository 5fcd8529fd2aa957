"""wss: the same protocol through TLS, which cannot be half-closed."""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.client import connect

from raw_websocket import TEXT, Echo, RawClient, frame, serving_in_thread


@dataclass
class Certificate:
    """Files for the server, and what a client needs to trust it."""

    certificate: str
    key: str

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.certificate)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Self-signed, for localhost, valid for an hour."""
    folder: Path = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return Certificate(str(folder / "certificate.pem"), str(folder / "key.pem"))


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
