"""Middleware: passing on, judging origins, refusing."""

import logging
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket

from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from fast_channels.middleware import BaseMiddleware, OriginValidator, WebsocketDenier
from fast_channels.testing import HttpCommunicator, WebsocketCommunicator
from fast_channels.type_defs import Receive, Scope, Send


class Accepting(AsyncWebsocketConsumer):
    """Accepts, and sends what the scope says about the user."""

    async def connect(self) -> None:
        await self.accept()
        await self.send(text_data=str(self.scope.get("user")))


async def is_let_through(
    allowed: list[str], *origins: str | bytes, name: str | bytes = "Origin"
) -> bool:
    application = OriginValidator(Accepting, allowed)
    headers = [(name, origin) for origin in origins]
    client = WebsocketCommunicator(application, "/", headers=headers)
    connected, _ = await client.connect()
    await client.disconnect()
    return connected


class TestBaseMiddleware:
    async def test_it_passes_on(self) -> None:
        """As it is, it changes nothing; the inner one may be a consumer class."""
        async with WebsocketCommunicator(BaseMiddleware(Accepting), "/") as client:
            assert await client.receive_from() == "None"

    async def test_a_subclass_changes_the_scope(self) -> None:
        """What a subclass adds reaches the consumer."""

        class WithUser(BaseMiddleware):
            async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
                await super().__call__({**scope, "user": "Ann"}, receive, send)

        async with WebsocketCommunicator(WithUser(Accepting), "/") as client:
            assert await client.receive_from() == "Ann"

    async def test_inner_changes_stay_inside(self) -> None:
        """What the inner application does to its scope is not seen outside."""

        async def inner(scope: Scope, receive: Receive, send: Send) -> None:
            scope["user"] = "inner"

        client = WebsocketCommunicator(BaseMiddleware(inner), "/")
        await client.wait()
        assert "user" not in client.scope

    def test_inner_must_be_an_application(self) -> None:
        """Anything else is a TypeError at construction."""
        with pytest.raises(TypeError, match="expected an ASGI application"):
            BaseMiddleware("app")  # type: ignore[arg-type]

    async def test_it_fits_add_middleware(self) -> None:
        """FastAPI can add it around a whole app, HTTP and lifespan included."""
        app = FastAPI()
        app.add_middleware(OriginValidator, allowed_origins=["https://example.com"])

        @app.get("/")
        async def page() -> str:
            return "page"

        @app.websocket("/ws")
        async def socket(socket: WebSocket) -> None:
            await socket.accept()

        response = await HttpCommunicator(app, "/").get_response()
        assert response["body"] == b'"page"'
        good, bad = {"Origin": "https://example.com"}, {"Origin": "https://evil.org"}
        for headers, expected in ((good, True), (bad, False)):
            client = WebsocketCommunicator(app, "/ws", headers=headers)
            connected, _ = await client.connect()
            await client.disconnect()
            assert connected is expected


class TestOriginValidator:
    @pytest.mark.parametrize(
        ("pattern", "origin"),
        [
            ("example.com", "http://example.com"),
            ("example.com", "https://example.com:8443"),
            ("example.com", "http://EXAMPLE.com"),
            ("Example.COM", "http://example.com"),
            ("example.com:8443", "https://example.com:8443"),
            (".example.com", "http://example.com"),
            (".example.com", "https://a.b.example.com:1"),
            ("http://example.com", "http://example.com"),
            ("http://example.com", "http://example.com:80"),
            ("http://example.com:80", "http://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("https://example.com:8443", "https://example.com:8443"),
            ("http://.example.com:8000", "http://a.example.com:8000"),
            ("HTTP://example.com", "http://example.com"),
            ("http://localhost:8000", "http://localhost:8000"),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("[::1]", "http://[::1]:8000"),
            ("http://[::1]:8000", "http://[0:0:0:0:0:0:0:1]:8000"),
            ("http://[2001:DB8::1]", "http://[2001:db8::1]"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            (".bücher.example", "https://www.xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "https://XN--BCHER-KVA.example"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
            ("file://", "file://"),
            ("FILE://", "file://"),
            ("app+dev://", "app+dev://"),
            ("null", "null"),
            ("*", "http://anything.example"),
            ("*", "null"),
            ("*", "not an origin"),
        ],
    )
    async def test_allowed(self, pattern: str, origin: str) -> None:
        """The pattern lets the origin through."""
        assert await is_let_through([pattern], origin)

    @pytest.mark.parametrize(
        ("pattern", "origin"),
        [
            ("example.com", "http://www.example.com"),
            ("example.com", "http://badexample.com"),
            ("example.com", "http://example.com.evil.org"),
            ("example.com:8443", "https://example.com"),
            (".example.com", "http://badexample.com"),
            (".example.com", "http://.example.com"),
            ("http://example.com", "https://example.com"),
            ("http://example.com", "http://example.com:8000"),
            ("http://example.com:443", "http://example.com"),
            ("https://example.com:8443", "https://example.com"),
            ("[::1]", "http://[::2]"),
            ("example.com", "null"),
            ("null", "http://example.com"),
            ("null", "file://"),
            ("file://", "null"),
            ("file://", "app://"),
            ("file://", "file://host"),
            ("file://host", "file://"),
            (".example.com", "file://"),
            ("null", "http://null"),
            ("chrome-extension://abcdef", "chrome-extension://ghi"),
        ],
    )
    async def test_refused(self, pattern: str, origin: str) -> None:
        """The pattern does not let the origin through."""
        assert not await is_let_through([pattern], origin)

    @pytest.mark.parametrize(
        "origin",
        [
            "",
            "example.com",
            "//example.com",
            "http://",
            "http:///",
            "https://",
            "file:///",
            "file:///page.html",
            "file://:80",
            "://",
            "http://example.com/",
            "http://example.com/path",
            "http://example.com?q",
            "http://user@example.com",
            "http://evil.org@example.com",
            "http://evil.org\\@example.com",
            "http://example.com:",
            "http://example.com:port",
            "http://example.com:0",
            "http://example.com:65536",
            "http://example.com:٨٠",
            "http://example.com http://evil.org",
            " http://example.com",
            "http://example.com\n",
            "http://example..com",
            "http://[::1",
            "http://[example.com]",
            "http://*",
            "Null",
        ],
    )
    async def test_malformed_origins_are_refused(self, origin: str) -> None:
        """What is no serialized origin (RFC 6454, 6.2) matches nothing."""
        allowed = [".example.com", "example.com", "http://example.com", "[::1]", "null", "file://"]
        assert not await is_let_through(allowed, origin.encode())

    async def test_missing_origin(self) -> None:
        """Without the header a WebSocket is refused, unless everything is allowed."""
        assert not await is_let_through(["example.com", "null"])
        assert await is_let_through(["*"])

    async def test_several_origins(self) -> None:
        """Two headers are refused, also if each would do."""
        assert not await is_let_through(["example.com"], *["http://example.com"] * 2)

    async def test_header_name_in_any_case(self) -> None:
        """The header is found however it is spelt, also by a server that keeps capitals."""
        scope: dict[str, Any] = {"headers": [(b"ORIGIN", b"http://example.com")]}
        assert OriginValidator(Accepting, ["example.com"]).is_allowed(scope)

    async def test_any_of_several_patterns(self) -> None:
        """One matching pattern is enough."""
        allowed = ["https://a.example", "https://b.example"]
        assert await is_let_through(allowed, "https://b.example")
        assert not await is_let_through(allowed, "https://c.example")

    async def test_http_passes(self) -> None:
        """Only WebSockets are judged."""
        application = OriginValidator(FastAPI(), ["https://example.com"])
        response = await HttpCommunicator(
            application, "/nowhere", headers={"Origin": "https://evil.org"}
        ).get_response()
        assert response["status"] == 404

    async def test_refusal_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        """The log says which origin was refused, in one line whatever is in it."""
        with caplog.at_level(logging.WARNING):
            await is_let_through(["example.com"], "http://evil.org\n\x1b[1m")
        assert "'http://evil.org\\n\\x1b[1m' is not allowed" in caplog.text

    @pytest.mark.parametrize(
        "pattern",
        [
            "",
            ".",
            "http://",
            "wss://",
            "file:///",
            "file://:80",
            "://",
            "*.example.com",
            "https://*",
            "http://example.com/",
            "http://example.com/path",
            "user@example.com",
            "::1",
            "[::1",
            "example.com:99999",
            "exa mple.com",
            "http://null",
            None,
            b"example.com",
        ],
    )
    def test_bad_pattern(self, pattern: Any) -> None:
        """A pattern of another form is a ValueError that shows it and the right form."""
        with pytest.raises(ValueError, match=r"is not an origin pattern; expected .*host\[:port\]"):
            OriginValidator(Accepting, [pattern])

    def test_bare_string(self) -> None:
        """A str in place of the list would be a list of its letters: a ValueError."""
        with pytest.raises(ValueError, match=r"must be a list of patterns, not 'example\.com'"):
            OriginValidator(Accepting, "example.com")

    def test_empty_list(self) -> None:
        """No pattern at all would refuse everybody: a ValueError."""
        with pytest.raises(ValueError, match="empty"):
            OriginValidator(Accepting, [])


class TestWebsocketDenier:
    @pytest.mark.parametrize(
        "denier", [WebsocketDenier, WebsocketDenier(), WebsocketDenier.as_asgi()]
    )
    async def test_it_refuses(self, denier: Any) -> None:
        """The class, an instance and `as_asgi()` refuse and return."""
        client = WebsocketCommunicator(denier, "/")
        assert await client.connect() == (False, 1000)
        await client.wait()

    async def test_http_is_a_mistake(self) -> None:
        """It is for WebSockets only."""
        with pytest.raises(ValueError, match="not 'http'"):
            await HttpCommunicator(WebsocketDenier, "/").get_response()


class TestSelf:
    """The pattern "self": pages of the host that the browser connected to."""

    @pytest.mark.parametrize(
        ("origin", "host", "allowed"),
        [
            ("http://chat.example.com", "chat.example.com", True),
            ("https://chat.example.com", "chat.example.com:443", True),
            ("http://127.0.0.1:8000", "127.0.0.1:8000", True),
            ("http://127.0.0.1:8001", "127.0.0.1:8000", False),
            ("http://evil.example.com", "chat.example.com", False),
            ("null", "null", False),
            ("file://", "", False),
        ],
    )
    async def test_origin_against_host(self, origin: str, host: str, allowed: bool) -> None:
        """The origin's host and port must be those of the Host header."""
        client = WebsocketCommunicator(
            OriginValidator(Accepting, ["self"]), "/", headers={"Origin": origin, "Host": host}
        )
        connected, _ = await client.connect()
        await client.disconnect()
        assert connected is allowed

    async def test_needs_one_host(self) -> None:
        """Without a Host header there is nothing to compare with."""
        assert not await is_let_through(["self"], "http://chat.example.com")
