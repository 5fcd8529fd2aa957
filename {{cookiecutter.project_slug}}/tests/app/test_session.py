"""Signing in, by a name or by a provider's token; what a session may do, and how it ends."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import FastAPI
from jwt.algorithms import RSAAlgorithm
from starlette.requests import HTTPConnection

from fast_channels.testing import WebsocketCommunicator

from {{ cookiecutter.project_slug }} import auth
from {{ cookiecutter.project_slug }}.settings import get_settings

from .visitors import PATIENCE, communicator, in_process, receive_close, sign_in, visit

SECRET = "a secret of the provider, 32 bytes and more"
ISSUER, AUDIENCE = "https://sign-in.example", "chat"


async def refusal(line: WebsocketCommunicator) -> object:
    """The HTTP status with which a socket is refused."""
    connected, status = await line.connect(PATIENCE)
    assert not connected
    await line.wait(PATIENCE)
    return status


# By a name


async def test_a_name_signs_in(client: httpx.AsyncClient) -> None:
    """The server gives the id. The cookie is kept from scripts and from other sites' requests."""
    unknown = await client.get("/session")
    assert (unknown.status_code, unknown.json()["sign_in"]) == (401, "name")
    response = await client.post("/session", json={"name": " Ann  B "})
    told = response.json()
    assert told["user"]["name"] == "Ann B"
    assert told["expires_at"] == pytest.approx(time.time() + 12 * 3600, abs=60)
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie
    known = await client.get("/session")
    assert known.json() == {key: told[key] for key in ("user", "expires_at", "sign_in")}


@pytest.mark.parametrize(("scheme", "variable"), [("https", ""), ("http", "true")])
async def test_the_cookie_is_secure_behind_https_or_if_told_so(
    app: FastAPI, scheme: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECURE_COOKIES", variable)
    get_settings.cache_clear()
    async with in_process(app, scheme) as client:
        response = await client.post("/session", json={"name": "Ann"})
        assert "secure" in response.headers["set-cookie"].lower()


@pytest.mark.parametrize("name", ["", " ", "n" * 51, "two\nlines", "zero\u200bwidth", 5, None])
async def test_a_bad_name_is_refused_with_the_reason(client: httpx.AsyncClient, name: Any) -> None:
    response = await client.post("/session", json={"name": name})
    assert response.status_code == 422
    assert response.json()["detail"].startswith("name: ")
    assert (await client.get("/session")).status_code == 401


async def test_a_cookie_that_the_server_has_not_signed_is_none(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    good = await sign_in(client, "Ann")
    value = good.partition("=")[2]
    for forged in (value[:-2] + "xx", "x" + value[1:], value.partition(".")[0], "", "é"):
        headers = {"cookie": b"session=" + forged.encode()}
        async with in_process(app) as other:
            assert (await other.get("/session", headers=headers)).status_code == 401
    assert await refusal(communicator(app, "session=forged")) == 401
    assert await refusal(communicator(app)) == 401


async def test_signing_in_gives_a_new_session_and_renewing_keeps_it(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nobody can fix another's session beforehand; the user's id stays the same on this browser."""
    first = (await client.post("/session", json={"name": "Ann"})).json()
    async with visit(app, cookie=f"session={client.cookies['session']}") as ann:
        again = (await client.post("/session", json={"name": "Ann"})).json()
        assert again["user"] == first["user"]
        assert again["expires_at"] > first["expires_at"]
        assert (await ann.ask("renew", token=again["renewal"]))["type"] == "renewed"
        monkeypatch.setattr(time, "time", lambda: again["expires_at"] + 1)
        assert (await client.get("/session")).status_code == 401
        later = (await client.post("/session", json={"name": "Ann"})).json()
        assert later["user"] == first["user"]
        assert (await ann.ask("renew", token=later["renewal"]))["code"] == "no_renewal"


async def test_a_renewal_moves_the_end_of_the_open_socket(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one's own; without it the socket is closed with 4401."""
    monkeypatch.setenv("SESSION_SECONDS", "2")
    get_settings.cache_clear()
    await sign_in(client, "Ann")
    cookie = f"session={client.cookies['session']}"
    async with visit(app, cookie=cookie) as ann, visit(app, name="Eve") as eve:
        monkeypatch.setenv("SESSION_SECONDS", "100")
        get_settings.cache_clear()
        renewal = (await client.post("/session", json={"name": "Ann"})).json()["renewal"]
        assert (await eve.ask("renew", token=renewal))["code"] == "no_renewal"
        answer = await ann.ask("renew", token=renewal)
        assert 90 < answer["expires_in"] <= 100
        assert (await receive_close(eve))["code"] == 4401
        assert (await ann.ask("ping"))["type"] == "ok"


async def test_signing_out_closes_the_sockets_of_the_session(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    """With 4403, upon which a page does not come back; another user's stay."""
    cookie = await sign_in(client, "Ann")
    async with visit(app, cookie=cookie) as ann, visit(app, name="Ben") as ben:
        assert (await client.delete("/session")).status_code == 204
        assert (await receive_close(ann))["code"] == 4403
        assert (await client.get("/session")).status_code == 401
        assert (await ben.ask("ping"))["type"] == "ok"
    assert (await client.delete("/session")).status_code == 204  # twice is once


async def test_a_copy_of_a_cookie_that_was_signed_out_is_worth_nothing(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    """It opens no socket, and whoever signs in with it is somebody else."""
    cookie = await sign_in(client, "Ann")
    user = (await client.get("/session")).json()["user"]
    assert (await client.delete("/session")).status_code == 204
    assert await refusal(communicator(app, cookie)) == 401
    async with in_process(app) as thief:
        again = await thief.post("/session", json={"name": "Ann"}, headers={"cookie": cookie})
        assert again.json()["user"]["id"] != user["id"]


# By a provider


@pytest.fixture
def _provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_SECRET", SECRET)
    monkeypatch.setenv("AUTH_ISSUER", ISSUER)
    monkeypatch.setenv("AUTH_AUDIENCE", AUDIENCE)
    get_settings.cache_clear()


def claims(**changed: Any) -> dict[str, Any]:
    good = {"sub": "u|7", "name": "Ann", "iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 600}
    return {key: value for key, value in (good | changed).items() if value is not None}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.mark.usefixtures("_provider")
async def test_a_providers_token_signs_in(app: FastAPI, client: httpx.AsyncClient) -> None:
    """Under the provider's id, and no longer than the token; by a name nobody does."""
    assert (await client.post("/session", json={"name": "Ann"})).status_code == 404
    assert (await client.get("/session")).json()["sign_in"] == "provider"
    token = jwt.encode(claims(), SECRET)
    told = (await client.post("/session", headers=bearer(token))).json()
    assert told["user"] == {"id": "u|7", "name": "Ann"}
    assert told["expires_at"] == pytest.approx(time.time() + 600, abs=60)
    async with visit(app, "lobby", cookie=f"session={client.cookies['session']}") as ann:
        assert ann.user == told["user"]
        assert (await ann.ask("join", group="jobs.me"))["type"] == "joined"


@pytest.mark.usefixtures("_provider")
async def test_a_user_signs_out_on_all_devices(app: FastAPI) -> None:
    """Each has a session of its own, which ends; one that begins afterwards is good."""
    async with in_process(app) as phone, in_process(app) as laptop:
        for device in (phone, laptop):
            await device.post("/session", headers=bearer(jwt.encode(claims(), SECRET)))
        async with visit(app, cookie=f"session={phone.cookies['session']}") as page:
            await laptop.delete("/session", params={"everywhere": True})
            assert (await receive_close(page))["code"] == 4403
        assert (await phone.get("/session")).status_code == 401
        await phone.post("/session", headers=bearer(jwt.encode(claims(), SECRET)))
        assert (await phone.get("/session")).status_code == 200


@pytest.mark.usefixtures("_provider")
async def test_a_page_without_the_token_renews_by_the_cookie(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    """A page of the provider's, or a proxy, makes the cookie longer; the open socket is told so."""
    short, long = (jwt.encode(claims(exp=time.time() + more), SECRET) for more in (100, 600))
    assert (await client.post("/session")).status_code == 401
    await client.post("/session", headers=bearer(short))
    async with visit(app, cookie=f"session={client.cookies['session']}") as ann:
        for token, least, most in ((short, 0, 100), (long, 500, 600)):
            await client.post("/session", headers=bearer(token))
            told = (await client.post("/session")).json()
            answer = await ann.ask("renew", token=told["renewal"])
            assert least < answer["expires_in"] <= most
        await client.delete("/session")
    assert (await client.post("/session")).status_code == 401


async def test_a_session_that_somebody_else_keeps_takes_the_place_of_ours(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a proxy's: what is told of it, and renewed by, is what `current_session` says."""
    user = auth.User(id="z", name="Zed")
    session = auth.Session(id="s", user=user, since=time.time(), expires_at=time.time() + 600)

    async def current_session(connection: HTTPConnection) -> auth.Session:
        return session

    monkeypatch.setattr(auth, "current_session", current_session)
    for told in (await client.get("/session"), await client.post("/session")):
        assert (told.status_code, told.json()["user"]) == (200, user.model_dump())
    assert auth.read_renewal(told.json()["renewal"]) == session
    assert "set-cookie" not in told.headers


BAD_TOKENS = {
    "another secret": (claims, "x" * 40, "HS256"),
    "no signature": (claims, None, "none"),
    "expired": (lambda: claims(exp=time.time() - 60), SECRET, "HS256"),
    "no expiry": (lambda: claims(exp=None), SECRET, "HS256"),
    "another app's": (lambda: claims(aud="shop"), SECRET, "HS256"),
    "no audience": (lambda: claims(aud=None), SECRET, "HS256"),
    "another issuer's": (lambda: claims(iss="https://evil.example"), SECRET, "HS256"),
    "no issuer": (lambda: claims(iss=None), SECRET, "HS256"),
    "nobody's": (lambda: claims(sub=None), SECRET, "HS256"),
    "of an empty user": (lambda: claims(sub=""), SECRET, "HS256"),
    "of a long user": (lambda: claims(sub="u" * 201), SECRET, "HS256"),
    "not valid yet": (lambda: claims(nbf=time.time() + 600), SECRET, "HS256"),
}


@pytest.mark.usefixtures("_provider")
@pytest.mark.parametrize(("made", "key", "algorithm"), BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
async def test_another_token_does_not(
    client: httpx.AsyncClient, made: Any, key: Any, algorithm: str
) -> None:
    token = jwt.encode(made(), key, algorithm)
    response = await client.post("/session", headers=bearer(token))
    assert (response.status_code, set(response.json())) == (401, {"detail"})
    assert "set-cookie" not in response.headers


@pytest.mark.usefixtures("_provider")
@pytest.mark.parametrize("header", ["", "Bearer ", "Bearer x", "Bearer a.b.c", "Basic YTpi"])
async def test_what_is_no_token_does_not(client: httpx.AsyncClient, header: str) -> None:
    response = await client.post("/session", headers={"authorization": header})
    assert response.status_code == 401


@pytest.mark.usefixtures("_provider")
@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ({"name": "two\nlines", "preferred_username": "ann"}, "ann"),
        ({"name": None, "email": "ann@example.com"}, "ann@example.com"),
        ({"name": 5}, "Somebody"),
    ],
)
async def test_a_tokens_name_is_one_that_can_be_shown(
    client: httpx.AsyncClient, names: dict[str, Any], shown: str
) -> None:
    token = jwt.encode(claims(**names), SECRET)
    told = (await client.post("/session", headers=bearer(token))).json()
    assert told["user"]["name"] == shown


@pytest.mark.usefixtures("_provider")
async def test_the_token_of_another_user_is_a_session_of_its_own(
    app: FastAPI, client: httpx.AsyncClient
) -> None:
    await client.post("/session", headers=bearer(jwt.encode(claims(), SECRET)))
    async with visit(app, cookie=f"session={client.cookies['session']}") as ann:
        other = jwt.encode(claims(sub="u|8"), SECRET)
        told = (await client.post("/session", headers=bearer(other))).json()
        assert told["user"]["id"] == "u|8"
        assert (await ann.ask("renew", token=told["renewal"]))["code"] == "no_renewal"


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Provider(HTTPServer):
    """Publishes the public half of KEY, and counts who asks; or fails."""

    asked = 0
    fails = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Keys)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/keys"


class Keys(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(500 if self.server.fails else 200)
        self.end_headers()
        published = {**json.loads(RSAAlgorithm.to_jwk(KEY.public_key())), "kid": "1", "use": "sig"}
        self.wfile.write(json.dumps({"keys": [published]}).encode())

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    with Provider() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("AUTH_JWKS_URL", server.url)
        monkeypatch.setenv("AUTH_ISSUER", ISSUER)
        monkeypatch.setenv("AUTH_AUDIENCE", AUDIENCE)
        get_settings.cache_clear()
        yield server
        server.shutdown()
        thread.join()


def signed(kid: str) -> dict[str, str]:
    return bearer(jwt.encode(claims(), KEY, "RS256", headers={"kid": kid}))


@pytest.mark.usefixtures("provider")
async def test_a_providers_public_keys_are_fetched(client: httpx.AsyncClient) -> None:
    """A secret is no key: whoever knows the public one could sign by it, too."""
    assert (await client.post("/session", headers=signed("1"))).status_code == 200
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for key, algorithm, kid in (
        (other, "RS256", "1"),
        (KEY, "RS256", "2"),
        ("x" * 40, "HS256", "1"),
    ):
        token = jwt.encode(claims(), key, algorithm, headers={"kid": kid})
        assert (await client.post("/session", headers=bearer(token))).status_code == 401


async def test_a_provider_is_not_asked_for_each_token(
    client: httpx.AsyncClient, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for keys that it does not have, nor while it fails; afterwards all is well again."""

    async def answers() -> set[int]:
        requests = (client.post("/session", headers=signed(f"new-{n}")) for n in range(10))
        return {response.status_code for response in await asyncio.gather(*requests)}

    provider.fails = True
    assert await answers() == {503}
    assert provider.asked == 1
    provider.fails = False
    with monkeypatch.context() as later:
        later.setattr(auth, "FETCH_SECONDS", 0)
        assert (await client.post("/session", headers=signed("1"))).status_code == 200
    asked = provider.asked
    assert await answers() <= {401, 503}
    assert provider.asked == asked


async def test_while_the_keys_cannot_be_had_nobody_is_let_in(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTH_JWKS_URL", "http://127.0.0.1:1/keys")  # port 1 is nobody's
    monkeypatch.setenv("AUTH_ISSUER", ISSUER)
    monkeypatch.setenv("AUTH_AUDIENCE", AUDIENCE)
    get_settings.cache_clear()
    token = jwt.encode(claims(), KEY, "RS256", headers={"kid": "1"})
    assert (await client.post("/session", headers=bearer(token))).status_code == 503
